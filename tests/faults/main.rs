//! Whatever fails, hangs or is killed at any step: never the host's claude, nothing left behind, the list of enrolled
//! directories readable, and the next run works.
//!
//! Faults come from outside: `strace` makes system calls fail, stop or kill; programs that misbehave stand in for QEMU; whoever
//! is dialled refuses, hangs or lies; files are damaged; limits are small; disks are full; real machines and their processes are stopped and killed. A step with a fault
//! is a case; the list of all that were tried, with what came of each, is printed and counted.

#![allow(clippy::print_stdout)] // the list is what the test is for

mod calls;
mod case;
mod disks;
mod files;
mod limits;
mod machines;
mod network;
mod peers;
mod programs;
#[path = "../support/mod.rs"]
mod support;

use case::{Case, Lab};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use support::Who;

/// So many different cases are promised.
const PROMISED: usize = 150;

/// Where everything is tried, not a covering part.
#[allow(clippy::disallowed_methods)] // Host is for the program; this is a switch of the tests
fn full() -> bool {
    std::env::var_os("VMCLAUDE_TESTS").is_some_and(|v| v == "full")
}

#[test]
fn every_fault_at_every_step() {
    let first = Lab::new(Who::nth(0));
    let calls = calls::cases(&first, full());
    drop(first);
    let cases = [calls, files::cases(), programs::cases(), network::cases(), limits::cases(), disks::cases()].concat();
    let queue: Mutex<VecDeque<Case>> = Mutex::new(cases.into());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for n in 0..2 {
            let (queue, results) = (&queue, &results);
            scope.spawn(move || {
                let lab = Lab::new(Who::nth(n));
                while let Some(case) = { queue.lock().expect("lock").pop_front() } {
                    let result = lab.attempt(&case);
                    results.lock().expect("lock").push((case.name(), result));
                }
                // After all of them a real machine runs.
                results.lock().expect("lock").push((format!("after all × nothing {n}"), lab.boots()));
            });
        }
    });
    let mut results = results.into_inner().expect("lock");
    results.extend(machines::all(full()));
    report(&results);
}

fn report(results: &[(String, Result<String, String>)]) {
    let mut reached = BTreeSet::new();
    let mut wrong = Vec::new();
    for (name, result) in results {
        match result {
            Ok(outcome) => {
                println!("{name}: {outcome}");
                if outcome != case::NOT_REACHED {
                    reached.insert(name.clone());
                }
            }
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    println!("{} different cases, {} wrong", reached.len(), wrong.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), results.len(), wrong.join("\n\n"));
    assert!(reached.len() >= PROMISED, "{} cases only", reached.len());
}
