//! Plain `claude`: in an enrolled directory the one in the VM, elsewhere the host's own, by shim and by every hook.

use crate::support::world::HOST_MARK;
use crate::support::{Done, Limited, Who, World};
use std::path::Path;

/// Arguments that a careless word would change.
const ARGS: &str = r#"-p 'a  b' "" '$x' --version "q'\"" -- --dry-run"#;
const ECHOED: &str = "[-p][a  b][][$x][--version][q'\"][--][--dry-run]";

/// A world whose guest has a `claude` that says where it is; it is found before the real one.
fn world(who: Who) -> World {
    let world = World::new(who);
    world.program(
        "home/.vm-claude/home/.local/bin/claude",
        "#!/bin/sh\nuname -n | cut -c1-8\npwd\nfor a; do printf '[%s]' \"$a\"; done\nexit 43\n",
    );
    for private in [world.guest_home(), world.guest_home().join("home")] {
        std::fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    }
    world.configure("home = 'shared'\n");
    world.enroll();
    world
}

fn ask(world: &World, shell: &str, dir: &Path) -> Done {
    let hook = world.state().join(format!("hook.{shell}"));
    let (load, flags): (String, &[&str]) = match shell {
        "shim" => (String::new(), &["-c"]),
        "fish" => ("source $HOOK; ".into(), &["--no-config", "-c"]),
        "zsh" => (". \"$HOOK\"; ".into(), &["-f", "-c"]),
        _ => (". \"$HOOK\"; ".into(), &["--norc", "-c"]),
    };
    let program = if shell == "shim" { "sh" } else { shell };
    let mut command = world.command(program);
    command.args(flags).arg(format!("{load}claude {ARGS}")).env("HOOK", hook).current_dir(dir);
    if shell == "shim" {
        let shims = world.state().join("shims");
        command.env("PATH", format!("{}:{}:/usr/bin:/bin", shims.display(), world.path("bin").display()));
    }
    command.done()
}

#[test]
fn inside_it_is_the_vm_and_outside_the_host() {
    for (n, shell) in ["shim", "bash", "zsh", "fish"].into_iter().enumerate() {
        let world = world(Who::nth(n));
        let inside = ask(&world, shell, &world.path("p/sub"));
        let expected = format!("vmclaude\n/workspace/sub\n{ECHOED}");
        assert_eq!((inside.code(), inside.out()), (Some(43), expected), "{shell}: {inside:?}");
        assert!(inside.err.is_empty(), "no words of ours: {inside:?}");
        let outside = ask(&world, shell, &world.path("out"));
        let expected = format!("{HOST_MARK}\n{ECHOED}");
        assert_eq!((outside.code(), outside.out()), (Some(42), expected), "{shell}: {outside:?}");
        world.assert_clean();
    }
}

#[test]
fn what_is_enrolled_never_runs_on_the_host() {
    let world = world(Who::nth(0));
    // Without a QEMU there is no VM, and still no host.
    world.configure("home = 'shared'\nqemu = '/nonexistent'\n");
    for shell in ["shim", "bash", "zsh", "fish"] {
        ask(&world, shell, &world.path("p")).assert_failure(125, &["QEMU"]);
    }
    // Another directory at the enrolled path.
    std::fs::rename(world.path("p"), world.path("was-p")).expect("mv");
    std::fs::create_dir_all(world.path("p/sub")).expect("mkdir");
    for shell in ["shim", "bash", "zsh", "fish"] {
        ask(&world, shell, &world.path("p/sub")).assert_failure(78, &["enroll"]);
    }
    world.assert_clean();
}

#[test]
fn a_name_of_ours_goes_to_us_and_every_other_word_to_claude() {
    let world = world(Who::nth(1));
    let done = world.vmclaude(&["mcp", "list", "--help"]).done();
    assert_eq!((done.code(), done.out().as_str()), (Some(43), "vmclaude\n/workspace\n[mcp][list][--help]"), "{done:?}");
    let run = world.vmclaude(&["run", "--", "--dry-run", "status"]).done();
    assert_eq!((run.code(), run.out().as_str()), (Some(43), "vmclaude\n/workspace\n[--dry-run][status]"), "{run:?}");
    world.assert_clean();
}
