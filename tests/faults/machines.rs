//! Real machines: each of the processes of a session stopped and killed while it boots and while its command runs.

use crate::case::NOT_REACHED;
use crate::support::program::Live;
use crate::support::{Limited, Who, World, leaks, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;

/// Whom a fault meets.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Machine,
    Share,
    Ours,
}

type Named = (String, Result<String, String>);

/// Every case, one after the other in one world; those that boot to the end only where everything is tried.
pub(crate) fn all(full: bool) -> Vec<Named> {
    let world = World::new(Who::nth(1));
    let mut results = Vec::new();
    for (victim, name) in
        [(Victim::Machine, "the machine"), (Victim::Share, "the share server"), (Victim::Ours, "vmclaude")]
    {
        results.push((format!("{name} while it boots × kill -9"), booting(&world, victim, Signal::SIGKILL)));
        results.push((format!("{name} while it boots × hang"), booting(&world, victim, Signal::SIGSTOP)));
        if full {
            results
                .push((format!("{name} while the command runs × kill -9"), running(&world, victim, Signal::SIGKILL)));
        }
        if full || matches!(victim, Victim::Machine) {
            results.push((format!("{name} while the command runs × hang"), running(&world, victim, Signal::SIGSTOP)));
        }
    }
    results.push(("after real machines × nothing".to_owned(), next(&world)));
    results
}

/// As early as both processes are there.
fn booting(world: &World, victim: Victim, signal: Signal) -> Result<String, String> {
    let mut live = world.vm(&["sh", "-c", "touch ready; sleep 600"]).live();
    let _ = fs::remove_file(world.path("p/ready"));
    until("both run or it has ended", || (leaks::processes(world).len() >= 4 || live.has_ended()).then_some(()));
    met(world, &mut live, victim, signal)
}

fn running(world: &World, victim: Victim, signal: Signal) -> Result<String, String> {
    let mut live = world.start("touch ready; sleep 600");
    met(world, &mut live, victim, signal)
}

/// The fault, and the end: by itself after a kill, by a person's word after a hang.
fn met(world: &World, live: &mut Live, victim: Victim, signal: Signal) -> Result<String, String> {
    let found = leaks::processes(world).into_iter().find(|p| match victim {
        Victim::Machine => p.is_machine(),
        Victim::Share => p.is_share(),
        Victim::Ours => p.pid == live.pid(),
    });
    let Some(process) = found else {
        live.end();
        return Ok(NOT_REACHED.to_owned());
    };
    kill(Pid::from_raw(process.pid), signal).map_err(|e| e.to_string())?;
    if signal == Signal::SIGSTOP {
        let stop = world.vmclaude(&["session", "stop", "--all"]).done();
        if stop.code() != Some(0) {
            return Err(format!("{stop:?}"));
        }
    }
    let done = live.end();
    until("no process is left", || leaks::processes(world).is_empty().then_some(()));
    let pruned = world.vmclaude(&["prune"]).done();
    let left = leaks::find(world);
    match done.end() {
        _ if !left.is_empty() || pruned.code() != Some(0) => Err(format!("left behind: {left:?} {pruned:?}")),
        (Some(125), None) if done.err().contains("  try: ") => Ok("125".to_owned()),
        (None, Some(number @ (9 | 15))) => Ok(format!("signal {number}")),
        _ => Err(format!("{done:?}")),
    }
}

fn next(world: &World) -> Result<String, String> {
    let done = world.vm(&["sh", "-c", "exit 6"]).done();
    if done.code() == Some(6) { Ok("works".to_owned()) } else { Err(format!("{done:?}")) }
}
