//! Whoever is killed, and whenever.

use crate::support::{Limited, World, apple, until};
use crate::{assert_works, doubles, world};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const RUNS: &str = "echo precious > data; sync; touch ready; while :; do sleep 60; done";

/// A client whose stdin stays open; killed when dropped.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn end(pid: i32) {
    // It may have ended meanwhile.
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

#[track_caller]
fn assert_gone(world: &World) {
    until("no container is left", || apple::containers(world).is_empty().then_some(()));
    assert_eq!(std::fs::read_to_string(world.path("p/data")).expect("the project's file"), "precious\n");
    let _ = std::fs::remove_file(world.path("p/data"));
    world.assert_clean();
}

#[test]
fn kill_nine_of_client_host_helper_and_of_both() {
    let world = world();
    let client = |world: &World| doubles(world, "run")[0];
    let helper = |world: &World| apple::helper(world, &apple::containers(world)[0]).expect("a helper");

    let mut live = world.start(RUNS);
    end(client(&world));
    live.end().assert_failure(125, &["the virtual machine was lost", "container"]);
    assert_gone(&world);

    let mut live = world.start(RUNS);
    live.signal(Signal::SIGKILL);
    assert_eq!(live.end().end(), (None, Some(9)));
    assert_gone_by_itself(&world);

    let mut live = world.start(RUNS);
    let victim = client(&world);
    live.signal(Signal::SIGKILL);
    end(victim);
    assert_eq!(live.end().end(), (None, Some(9)));
    assert_gone_by_itself(&world);

    let mut live = world.start(RUNS);
    end(helper(&world));
    live.end().assert_failure(125, &["the virtual machine was lost"]);
    assert_gone(&world);
    assert_works(&world);
}

/// Nobody of ours is there to remove it; the supervisor lost its host. The next run sweeps the record.
#[track_caller]
fn assert_gone_by_itself(world: &World) {
    until("no container is left", || apple::containers(world).is_empty().then_some(()));
    let done = world.vmclaude(&["prune"]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert_gone(world);
}

/// Not even force removes a container that is stopping.
#[test]
fn a_container_that_is_stopping_is_waited_for() {
    let world = world();
    apple::behave(&world, &serde_json::json!({ "stopping": 3000 }));
    let mut live = world.start(RUNS);
    end(doubles(&world, "run")[0]);
    live.end().assert_failure(125, &["the virtual machine was lost"]);
    assert!(apple::containers(&world).is_empty(), "removed before we ended");
    assert_gone(&world);
}

/// At so many moments between the start and the end of a run somebody is killed: the client, we, or both.
#[test]
#[allow(clippy::disallowed_methods)] // a switch of the tests
fn killed_at_any_moment_nothing_is_left() {
    let full = std::env::var("VMCLAUDE_TESTS").is_ok_and(|t| t == "full");
    let moments: u32 = if full { 100 } else { 8 };
    let world = world();
    let started = Instant::now();
    assert_works(&world);
    let whole = started.elapsed();
    // Spread over a whole run, with a remainder that differs each time.
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").subsec_nanos();
    for n in 0..moments {
        let part = whole * n / moments + Duration::from_millis(u64::from(seed.rotate_left(n) % 100));
        let mut live = world.vm(&["sh", "-c", "sleep 0.2"]).live();
        let begun = Instant::now();
        until("the moment has come", || (begun.elapsed() >= part || live.has_ended()).then_some(()));
        if n % 3 != 0 {
            doubles(&world, "run").into_iter().for_each(end);
        }
        if n % 3 != 1 {
            end(live.pid());
        }
        live.end();
        let pruned = world.vmclaude(&["prune"]).done();
        assert_eq!(pruned.code(), Some(0), "moment {n} at {part:?}: {pruned:?}");
        let what = format!("no container is left after moment {n}, {part:?} of {whole:?}");
        until(&what, || apple::containers(&world).is_empty().then_some(()));
        world.assert_clean();
    }
    println!("killed at {moments} moments of a run of {whole:?}; no container was left");
    assert_works(&world);
}

/// What is found by its labels is removed; what carries others, or none, is not touched.
#[test]
fn prune_removes_what_is_ours_and_nothing_else() {
    let world = world();
    let owner = vmclaude::engine::apple::owner(&world.state());
    let start = |name: &str, labels: &[String]| {
        let mut command = world.command(apple::program(&world));
        command.args(["run", "-i", "--name", name, "-m", "512M"]);
        for label in labels {
            command.args(["--label", label]);
        }
        command.args(["--network", "none", "--", "vmclaude:tests", "stdio"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let held = Held(command.spawn().expect("it starts"));
        until("it runs", || apple::helper(&world, name));
        held
    };
    let ours = [format!("vmclaude.state={owner}"), "vmclaude.run=deadbeef".to_owned()];
    let other = ["vmclaude.state=0000".to_owned(), "vmclaude.run=feedbeef".to_owned()];
    let _lives = [start("vmclaude-deadbeef", &ours), start("vmclaude-feedbeef", &other), start("buildkit", &[])];
    let done = world.vmclaude(&["prune"]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let mut left = apple::containers(&world);
    left.sort();
    assert_eq!(left, ["buildkit", "vmclaude-feedbeef"]);
    // The test's own.
    for name in left {
        assert_eq!(world.command(apple::program(&world)).args(["delete", "--force", &name]).done().code(), Some(0));
        let _ = std::fs::remove_dir_all(apple::service(&world).join("containers").join(name));
    }
    world.assert_clean();
}
