//! One session: the record, the processes, the conversation over the wire, and the end.

pub mod ask;
mod child;
mod converse;
pub mod denied;
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

use crate::engine::launch::{Launch, Warm};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::net::Denials;
use crate::plan::Plan;
use crate::profile;
use processes::Processes;
use record::Record;
use signals::Event;
use std::path::Path;
use template::Template;
use tokio::sync::mpsc;
use vmclaude_init::wire::mux::Wire;

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
    let mut processes = None;
    let outcome = runtime.block_on(session(host, plan, launch, record.dir(), events, denials, &mut processes));
    let outcome = outcome.map_err(|e| explain(e, processes.as_mut(), record.dir()));
    if outcome.is_err() {
        tty::give_back_reset()
    } else {
        tty::give_back()
    }
    drop(processes);
    profile::mark("everything is gone");
    // Threads that wait for our own streams end with the process.
    runtime.shutdown_background();
    outcome
}

/// Starts the machine, as a copy where that can be done, and talks to it. `slot` holds whatever runs.
async fn session(
    host: &Host,
    plan: &Plan,
    launch: &Launch,
    dir: &Path,
    mut events: mpsc::UnboundedReceiver<Event>,
    denials: Denials,
    slot: &mut Option<Processes>,
) -> Result<Exit> {
    let mut wire = None;
    if let Some(warm) = &launch.warm {
        let copy = tokio::select! {
            copy = copied(plan, launch, warm, dir, slot) => copy,
            signal = signals::deadly(&mut events) => return Ok(Exit::Signal(signal as i32)),
        };
        match copy {
            Ok(found) => wire = found,
            Err(e) => {
                tracing::warn!(why = e.because.join(": "), "{}; starting from power-on", e.what);
                template::discard(&warm.template);
                *slot = None;
            }
        }
    }
    if wire.is_none() {
        let (processes, reach) = Processes::boot(plan, launch, dir)?;
        *slot = Some(processes);
        profile::mark("QEMU is started");
        wire = tokio::select! {
            wire = converse::connect(reach.wire) => Some(wire?),
            signal = signals::deadly(&mut events) => return Ok(Exit::Signal(signal as i32)),
        };
    }
    profile::mark("the guest says hello");
    match (wire, slot) {
        (Some(wire), Some(processes)) => converse::run(host, plan, processes, wire, events, denials).await,
        _ => Err(converse::lost("it was not started")),
    }
}

/// The wire to a copy, once it runs and has its share; `None`: there is no template. Nothing of the user's has reached
/// the machine up to here, so after a failure it can be booted instead.
async fn copied(
    plan: &Plan,
    launch: &Launch,
    warm: &Warm,
    dir: &Path,
    slot: &mut Option<Processes>,
) -> Result<Option<Wire>> {
    if !warm.template.exists() {
        return Ok(None);
    }
    let template = Template::open(&warm.template)?;
    let (processes, reach) = Processes::copy(plan, launch, warm, template, dir)?;
    *slot = Some(processes);
    profile::mark("QEMU is started");
    let ready = async {
        match reach.ready {
            Some(ready) => ready.await.unwrap_or_else(|_| Err(converse::lost("nobody saw to its start"))),
            None => Ok(()),
        }
    };
    let (wire, ()) = tokio::try_join!(converse::connect(reach.wire), ready)?;
    Ok(Some(wire))
}

/// Adds what ended and what the logs say to the loss of the machine.
fn explain(mut failure: Failure, processes: Option<&mut Processes>, dir: &Path) -> Failure {
    if failure.code != crate::exit::VM_FAILED {
        return failure;
    }
    failure.because.extend(processes.map(Processes::ended).unwrap_or_default());
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
