//! One session: the record, the processes, the conversation over the wire, and the end.

pub mod ask;
mod child;
mod converse;
pub mod denied;
mod machine;
mod processes;
mod qmp;
pub mod record;
mod relay;
mod scratch;
pub mod signals;
mod stdio;
mod talk;
pub mod template;
pub mod trial;
mod tty;

use crate::engine::launch::Launch;
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::net::Denials;
use crate::plan::Plan;
use crate::profile;
use machine::Machine;
use record::Record;
use signals::Event;
use std::path::Path;
use tokio::sync::mpsc;

/// Runs `plan` by `launch` to its end, noting in `denials` what the guest was refused. When this returns, no process, mount
/// or socket of the session is left.
///
/// # Errors
/// When the VM cannot be started or is lost; the reasons hold the end of its log.
pub fn run(host: &Host, plan: &Plan, launch: &Launch, denials: Denials) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().what(|| "cannot start")?;
    // Before there is anything to clean up: from here on no signal but KILL ends us without our doing it.
    let events = {
        let _inside = runtime.enter();
        signals::listen()?
    };
    let runs = host.dirs.runs();
    record::prune(&runs);
    let project = plan.mounts.first().map_or(Path::new("/"), |m| &m.host);
    let program = plan.argv.first().cloned().unwrap_or_default();
    let record = Record::create(&runs, &record::facts(project, &program))?;
    tty::give_back_on_panic();
    let mut machine = None;
    let outcome = runtime.block_on(session(host, plan, launch, record.dir(), events, denials, &mut machine));
    let outcome = outcome.map_err(|e| explain(e, machine.as_mut(), record.dir()));
    if outcome.is_err() {
        tty::give_back_reset()
    } else {
        tty::give_back()
    }
    drop(machine);
    profile::mark("everything is gone");
    // Threads that wait for our own streams end with the process.
    runtime.shutdown_background();
    outcome
}

/// Starts the machine and talks to it. `slot` holds whatever runs.
async fn session(
    host: &Host,
    plan: &Plan,
    launch: &Launch,
    dir: &Path,
    mut events: mpsc::UnboundedReceiver<Event>,
    denials: Denials,
    slot: &mut Option<Machine>,
) -> Result<Exit> {
    let wire = tokio::select! {
        wire = Machine::start(plan, launch, dir, slot) => wire?,
        signal = signals::deadly(&mut events) => return Ok(Exit::Signal(signal as i32)),
    };
    profile::mark("the guest says hello");
    match slot {
        Some(machine) => converse::run(host, plan, machine, wire, events, denials).await,
        None => Err(converse::lost("it was not started")),
    }
}

/// Adds what ended and what the logs say to the loss of the machine.
fn explain(mut failure: Failure, machine: Option<&mut Machine>, dir: &Path) -> Failure {
    if failure.code != crate::exit::VM_FAILED {
        return failure;
    }
    failure.because.extend(machine.map(Machine::ended).unwrap_or_default());
    for log in ["share.log", "machine.log", "console.log"] {
        let text = std::fs::read(dir.join(log)).unwrap_or_default();
        for line in tail(&String::from_utf8_lossy(&text)) {
            failure = failure.because(format!("{log}: {}", line.escape_debug()));
        }
    }
    match failure.next {
        Some(_) => failure,
        None => failure.next("the same command again; with VMCLAUDE_LOG=debug it says more"),
    }
}

/// What a log says at its end; of a kernel's panic also the line that tells why, which lies above the trace.
fn tail(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let (before, last) = lines.split_at(lines.len().saturating_sub(8));
    let panic = before.iter().filter(|l| l.contains("Kernel panic"));
    panic.chain(last).copied().collect()
}
