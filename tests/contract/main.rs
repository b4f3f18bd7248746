//! The process contract (`docs/process-contract.md`): whoever starts a program through vmclaude sees what they would see if
//! it ran here. One list of cases; each runs on the host and by an engine, and both must be seen to do the same.
//!
//! A covering subset runs always, the product with `tests/run --full`.
#![allow(clippy::print_stdout)] // counts, and what is skipped

mod deeds;
mod engine;
mod list;
mod piped;
mod seen;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod typed;

use engine::Engine;
use settings::Setting;

/// Runs the list's cases of one setting by every engine that can run here.
fn hold(setting: Setting) {
    if let Some(missing) = setting.missing() {
        println!("skipped contract::{}: {missing}", setting.name());
        return;
    }
    for engine in Engine::here() {
        let world = engine::world(*engine);
        let cases = list::of(*engine, setting);
        assert!(!cases.is_empty() || list::is_shared(), "{} has no case", setting.name());
        let wrong: Vec<String> = cases.iter().filter_map(|deed| judged(&world, *engine, setting, deed)).collect();
        println!("{}: {} cases, {} wrong ({})", engine.name(), cases.len(), wrong.len(), setting.name());
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

/// What is wrong with a case. One that takes too long panics, and the others are tried all the same; each is told as it comes,
/// because all of them take hours.
fn judged(world: &support::World, engine: Engine, setting: Setting, deed: &deeds::Deed) -> Option<String> {
    let tried = std::panic::AssertUnwindSafe(|| compare(world, engine, setting, deed));
    let wrong = std::panic::catch_unwind(tried).unwrap_or_else(|_| Some(format!("{deed:?}: it took too long")));
    println!("{} {deed:?}: {}", setting.name(), wrong.as_deref().unwrap_or("the same"));
    wrong
}

/// What is different, in words.
fn compare(world: &support::World, engine: Engine, setting: Setting, deed: &deeds::Deed) -> Option<String> {
    let host = see(world, Engine::Host, setting, deed);
    let guest = see(world, engine, setting, deed);
    if *deed == deeds::Deed::Killed {
        world.in_vm(&["true"]); // The next run finishes what only a kill can leave.
    }
    // Whoever stood between may have ended before it.
    support::until("nothing of it runs", || support::leaks::processes(world).is_empty().then_some(()));
    world.assert_clean();
    (host != guest).then(|| format!("{deed:?}, {}\n  on the host: {host:?}\n  in the VM:   {guest:?}", setting.name()))
}

/// Looks again where GNU make on a busy machine lost its own child, whatever that was: it reaps it in the handler of a signal.
fn see(world: &support::World, engine: Engine, setting: Setting, deed: &deeds::Deed) -> seen::Seen {
    let mut seen = settings::see(world, engine, setting, deed);
    for _ in 0..3 {
        if setting != Setting::MakeTyped || !seen.shows("wait: No child processes") {
            break;
        }
        seen = settings::see(world, engine, setting, deed);
    }
    seen
}

macro_rules! settings {
    ($($name:ident: $setting:ident;)*) => { $(#[test] fn $name() { hold(Setting::$setting) })* };
}

settings! {
    pipes: Pipes;
    dev_null: Null;
    closed_descriptors: Closed;
    nohup: Nohup;
    timeout: Timeout;
    make: Make;
    xargs: Xargs;
    terminal: Terminal;
    pipe_and_terminal: Mixed;
    background: Background;
    ssh: Ssh;
    script: Script;
    tmux: Tmux;
    make_on_a_terminal: MakeTyped;
    xargs_on_a_terminal: XargsTyped;
    pipeline: Pipeline;
    less: Less;
}

#[test]
fn the_list_covers_everything() {
    for engine in Engine::here() {
        println!("{}: {} cases of {}", engine.name(), list::count(*engine, false), list::count(*engine, true));
    }
    let (covered, product) = (list::count(Engine::Linux, false), list::count(Engine::Linux, true));
    assert!(covered >= 90 && product > 3000, "{covered} of {product}");
    let named =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/process-contract.md")).expect("docs");
    for setting in Setting::ALL {
        assert!(named.contains(&format!("`contract {}`", setting.name())), "{} is not in the table", setting.name());
    }
}
