//! The real Claude Code on a terminal, on this machine and in the VM, side by side: whoever looks sees the same at each step.
//!
//! Needs the image that `tests/run` builds; the program on the host is the image's own.
#![allow(clippy::print_stdout)] // counts, and what is skipped

mod host;
mod paint;
mod pane;
mod steps;
#[path = "../support/mod.rs"]
mod support;
mod terminals;

use pane::{Look, Pane};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use steps::{Act, STEPS, Step};
use support::api::Api;
use support::{Who, World};

/// How long a step may take under emulation, on a machine that is busy with other machines.
const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn a_session_looks_as_on_the_host() {
    if let Some(missing) = host::missing() {
        println!("skipped session::a_session_looks_as_on_the_host: {missing}");
        return;
    }
    let world = support::warm::world(Who::Current);
    // What the world's first machine left: a configuration that was made without a key, so that each key is asked about.
    std::fs::remove_dir_all(world.guest_home()).expect("rm");
    let api = Api::new(&world.root);
    let here = Pane::new(&world, "host", &host::shell(&world, "host", &api, &[]), &[]);
    let there = Pane::new(&world, "vm", &shell_in_the_project(&world), &environment(&world, &api));
    for (n, step) in STEPS.iter().enumerate() {
        let look = same(&format!("step {n}, {}", step.name), step, &here, &there);
        println!("step {n}, {}: the same\n{look}", step.name);
    }
    for side in [world.path("host/workspace"), world.path("p")] {
        assert_eq!(std::fs::read_to_string(side.join("made.txt")).expect("the tool ran"), "made\n");
    }
    assert!(api.messages().len() >= 6, "both sides asked: {}", api.requests());
    let (bytes, in_vm) = (here.end(), there.end());
    assert!(in_vm.windows(8).any(|w| w == b"\x1b[?1049h"), "the VM's was recorded");
    terminals::assert_passes("tmux", &bytes);
    support::until("every shell has ended", || support::leaks::processes(&world).is_empty().then_some(()));
    world.assert_clean();
}

/// Does the step on both sides, and waits until both were seen to show the same: what blinks, or shows for a moment only, need
/// not be looked at in the same moment.
fn same(name: &str, step: &Step, here: &Pane, there: &Pane) -> Look {
    [here, there].iter().for_each(|pane| pane.act(&step.act));
    let mut done = [Instant::now(); 2];
    let mut seen = [(here, HashSet::new()), (there, HashSet::new())];
    let end = Instant::now() + LIMIT;
    let mut last = [String::new(), String::new()];
    while Instant::now() < end {
        for (n, (pane, looks)) in seen.iter_mut().enumerate() {
            let look = pane.look();
            last[n] = format!("{look:?}");
            if step.act.repeats(&look, done[n].elapsed()) {
                pane.act(&step.act);
                done[n] = Instant::now();
            }
            if (step.there)(&look) {
                looks.insert(look);
            }
        }
        if let Some(look) = seen[0].1.intersection(&seen[1].1).next() {
            return look.clone();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let count = |n: usize| seen[n].1.len();
    panic!(
        "{name}: no common look ({} on the host, {} in the VM)\n--- host\n{}\n--- VM\n{}",
        count(0),
        count(1),
        last[0],
        last[1]
    );
}

/// Somebody's interactive shell in an enrolled project, with the shim on the path.
fn shell_in_the_project(world: &World) -> String {
    let settings = world.write("home/.vm-claude/shared/settings.json", host::SETTINGS);
    for private in settings.ancestors().skip(1).take(2) {
        std::fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    }
    world.enroll();
    "exec bash --rcfile \"$RC\" -i".into()
}

fn environment(world: &World, api: &Api) -> Vec<(&'static str, String)> {
    world.configure(&format!("[network]\nallow_hosts = ['{}']\n", api.addr));
    let shims = world.state().join("shims");
    let path = format!("{}:{}:/usr/bin:/bin", shims.display(), world.path("bin").display());
    let mut all = vec![("PATH", path), ("VMCLAUDE_WARM_START", "1".into())];
    all.extend(host::quiet(api));
    all
}

/// The control of the comparison: what it should notice, it does.
#[test]
fn a_look_is_more_than_its_text() {
    if let Some(missing) = host::missing() {
        println!("skipped session::a_look_is_more_than_its_text: {missing}");
        return;
    }
    let world = World::bare(Who::Current);
    let pane = Pane::new(&world, "any", "exec bash --rcfile \"$RC\" -i", &[]);
    let show = |text: &str| {
        pane.act(&Act::Line("printf '\\033c'".into()));
        pane.until("it is empty", |look| !look.has("shown") && look.last() == "$");
        pane.act(&Act::Line(format!("printf '\\033c\\033]0;one\\007{text}'")));
        pane.until("it shows", |look| look.has("shown") && look.last().ends_with('$'))
    };
    let plain = show("shown ");
    assert_eq!(plain, show("shown "), "the same is the same");
    for other in [r"\033[1mshown ", r"shown  ", r"\033]0;two\007shown ", r"\033[?25lshown ", r"\033[?1000hshown "] {
        assert_ne!(plain, show(other), "{other}");
    }
    drop(pane.end());
    support::until("the shell has ended", || support::leaks::processes(&world).is_empty().then_some(()));
    world.assert_clean();
}
