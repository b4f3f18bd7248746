//! Sessions beside each other, until there is no memory for another.

use crate::support::program::Live;
use crate::support::{Done, Limited, Who, World, full, until};
use std::fs;

/// More than anybody starts here.
const MANY: usize = 100;

/// So many MiB of the host, by their name in `/proc/meminfo`.
fn mib(name: &str) -> u64 {
    let info = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
}

/// Starts sessions that may grow to so many MiB each, of which nothing is touched, until one is refused: those that run, and
/// the refusal.
fn fill(world: &World, each: u64) -> (Vec<Live>, Done) {
    let mut running = Vec::new();
    for _ in 0..MANY {
        let mut live = start(world, each);
        let started = until("it runs or is refused", || {
            world.path("p/ready").exists().then_some(true).or_else(|| live.has_ended().then_some(false))
        });
        if !started {
            return (running, live.end());
        }
        running.push(live);
    }
    panic!("{MANY} run, and another would be started")
}

fn start(world: &World, each: u64) -> Live {
    let _ = fs::remove_file(world.path("p/ready"));
    world.vm(&["sh", "-c", "touch ready; sleep 3000"]).env("VMCLAUDE_MEMORY", format!("{each}M")).live()
}

fn is_a_refusal(done: &Done) {
    done.assert_failure(125, &["not enough memory for another", "may still grow by", "vmclaude session list"]);
}

/// They are all there, end when they are told to, and then there is room again.
fn end(world: &World, mut running: Vec<Live>) {
    let done = world.vmclaude(&["session", "list", "--json"]).done();
    let listed: serde_json::Value = serde_json::from_slice(&done.out).expect("JSON");
    assert_eq!(listed["sessions"].as_array().expect("a list").len(), running.len(), "{done:?}");
    assert!(running.iter_mut().all(|live| !live.has_ended()));
    assert_eq!(world.vmclaude(&["session", "stop", "--all"]).done().code(), Some(0));
    running.iter_mut().for_each(|live| drop(live.end()));
    world.assert_clean();
    assert_eq!(world.in_vm(&["true"]).code(), Some(0), "there is room again");
}

#[test]
fn sessions_start_until_memory_could_run_out() {
    let world = World::new(Who::nth(1));
    let (running, refused) = fill(&world, mib("MemAvailable") * 2 / 5);
    is_a_refusal(&refused);
    assert!((1..5).contains(&running.len()), "{}", running.len());
    end(&world, running);
}

/// Twenty real ones. What they may grow to fits, with what is left to the host; that of a few more does not.
#[test]
fn twenty_sessions_run_at_once_until_memory_is_short() {
    if !full() {
        println!("skipped room::twenty_sessions: some minutes under emulation (tests/run --full)");
        return;
    }
    let world = World::new(Who::nth(1));
    let spare = (mib("MemTotal") / 16).min(1024);
    let each = (mib("MemAvailable") - spare) / 24;
    if each < 400 {
        println!("skipped room::twenty_sessions: it needs 10 GiB of memory that nobody else uses");
        return;
    }
    let (running, refused) = fill(&world, each);
    is_a_refusal(&refused);
    println!("{} sessions of {each} MiB; {} MiB are available", running.len(), mib("MemAvailable"));
    assert!((20..30).contains(&running.len()), "{}", running.len());
    // Two that come at the same moment are none too many, either.
    let mut late = [start(&world, each), start(&world, each)];
    late.iter_mut().for_each(|live| is_a_refusal(&live.end()));
    assert!(mib("MemAvailable") > spare, "the host has what is left to it");
    end(&world, running);
}
