//! One session: the record, the processes, the conversation over the wire, and the end.

pub mod apple;
pub mod ask;
pub mod ask_shell;
mod begin;
mod child;
mod converse;
pub mod denied;
pub mod desk;
mod disk;
pub mod ended;
mod house;
pub mod keeper;
mod keys;
mod line;
mod machine;
mod memory;
pub mod notes;
mod nowhere;
mod ports;
mod processes;
mod qmp;
pub mod record;
mod relay;
mod scratch;
pub mod signals;
mod socket;
mod stdio;
mod talk;
pub mod template;
pub mod trial;
mod tty;
pub mod usage;
pub mod volume;

pub use relay::denied_copies;

use crate::engine::launch::Launch;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::files;
use crate::host::Host;
use crate::net::Denials;
use crate::plan::Plan;
use crate::plan::room::{self, Held};
use crate::profile;
use desk::Desk;
use house::House;
use machine::Machine;
use notes::Notes;
use ports::Ports;
use record::Record;
use signals::Event;
use std::path::Path;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Below so many bytes free on the disk no session starts: it could not even write its logs.
const DISK_LEAST: u64 = 64 << 20;
/// How much of each log a failure shows lines of.
const LOG_SHOWN: u64 = 16 << 10;

/// What is heard when the guest's command may start.
pub type Ready = oneshot::Receiver<()>;

/// Whoever reads certificates, beside the boot.
pub type Authorities = JoinHandle<Vec<String>>;

/// What a run brings to its session.
pub struct Given {
    /// The command starts when this was heard from.
    pub ready: Ready,
    /// The project's volume, where the plan has one.
    pub volume: Option<volume::Held>,
    /// The certificates that this host trusts beyond its distribution's list.
    pub authorities: Authorities,
}

/// Runs `plan` by `launch` to its end, noting in `denials` what the guest was refused and in `notes` what else a person
/// should hear. When this returns, no process, mount or socket of the session is left.
///
/// # Errors
/// When the VM cannot be started or is lost; the reasons hold the end of its log.
pub fn run(host: &Host, plan: &Plan, launch: &Launch, denials: Denials, notes: &Notes, given: Given) -> Result<Exit> {
    let runtime = begin::runtime()?;
    // Before there is anything to clean up: from here on no signal but KILL ends us without our doing it.
    let inside = runtime.enter();
    let (tell, events) = signals::listen()?;
    let record = admit(host, plan)?;
    let ports = Ports::default();
    Desk { events: tell, ports: ports.clone() }.open(record.dir())?;
    drop(inside);
    tty::prepare(&host.exe);
    let mut machine = None;
    let Given { ready, volume, authorities } = given;
    let (dir, held) = (record.dir(), volume.as_ref());
    let about = About { host, plan, launch, dir, denials, ports, notes, ready, volume: held, authorities };
    let outcome = runtime.block_on(session(about, events, &mut machine));
    let outcome = outcome.map_err(|e| explain(e, machine.as_mut(), record.dir()));
    if outcome.is_err() {
        tty::give_back_reset()
    } else {
        tty::give_back()
    }
    tty::dismiss_keeper();
    // Beside it, because both wait for the kernel: it gives the machine's memory back, and closes what watched files.
    let machine_gone = std::thread::spawn(move || drop(machine));
    // The near end of the wire goes with it. Threads that wait for our own streams end with the process.
    runtime.shutdown_background();
    let _ = machine_gone.join();
    // Not before: another session may have it now.
    drop(volume);
    profile::mark("everything is gone");
    record.keep(how(&outcome));
    outcome
}

/// The session's record, when the host has room for it. One at a time: two that start at once must see each other.
fn admit(host: &Host, plan: &Plan) -> Result<Record> {
    let runs = host.dirs.runs();
    let lock = record::lock(&runs)?;
    record::prune_under(&lock, &runs);
    if let Some(free) = disk::free(&runs).filter(|free| *free < DISK_LEAST) {
        return Err(Failure::new("there is not enough room on the disk for a session")
            .because(format!("{} MiB are left where {} is", free >> 20, runs.display()))
            .next(format!("df -h {}", files::quoted(&runs))));
    }
    if let Some(available) = crate::host::available_memory() {
        let running: Vec<Held> = record::seen(&runs).iter().map(held).collect();
        room::check(host.memory >> 20, available >> 20, &running, plan.limits.memory)?;
    }
    let project = plan.mounts.first().map_or(Path::new("/"), |m| &m.host);
    let program = plan.argv.first().cloned().unwrap_or_default();
    Record::create_under(&lock, &runs, &record::facts(project, &program, plan.limits.memory))
}

/// What a machine that runs has of the host's memory, and may have.
fn held(seen: &record::Seen) -> Held {
    Held { most: seen.facts.memory_mib, now: seen.usage.memory >> 20 }
}

/// How a session ended, in words.
fn how(outcome: &Result<Exit>) -> String {
    match outcome {
        Ok(Exit::Code(code)) => format!("exited with {code}"),
        Ok(Exit::Signal(number)) => format!("killed by signal {number}"),
        Err(e) => [&e.what].into_iter().chain(e.because.first()).cloned().collect::<Vec<_>>().join(": "),
    }
}

/// What a session is about.
struct About<'a> {
    host: &'a Host,
    plan: &'a Plan,
    launch: &'a Launch,
    dir: &'a Path,
    denials: Denials,
    ports: Ports,
    notes: &'a Notes,
    ready: Ready,
    volume: Option<&'a volume::Held>,
    authorities: Authorities,
}

/// Starts the machine and talks to it. `slot` holds whatever runs.
async fn session(
    about: About<'_>,
    mut events: mpsc::UnboundedReceiver<Event>,
    slot: &mut Option<Machine>,
) -> Result<Exit> {
    let About { host, plan, launch, dir, denials, ports, notes, ready, volume, authorities } = about;
    let wire = tokio::select! {
        wire = Machine::start(plan, launch, dir, volume, slot) => wire?,
        signal = signals::deadly(&mut events) => return Ok(Exit::Signal(signal as i32)),
    };
    profile::mark("the guest says hello");
    match slot {
        Some(machine) => {
            // Nothing was sent or nobody will: either way there is nothing more to wait for.
            let _ = ready.await;
            profile::mark("the project was looked at");
            let house = House::new(dir, plan.volume(), machine.pids(), ports, notes.clone());
            converse::run(host, plan, (machine, wire), events, (denials, authorities), house).await
        }
        None => Err(converse::lost("it was not started")),
    }
}

/// Adds what ended and what the logs say to the loss of the machine.
fn explain(mut failure: Failure, machine: Option<&mut Machine>, dir: &Path) -> Failure {
    if failure.code != crate::exit::VM_FAILED {
        return failure;
    }
    failure.because.extend(machine.map(Machine::ended).unwrap_or_default());
    for log in ["container.log", "share.log", "machine.log", "console.log"] {
        let text = ended::tail(&dir.join(log), LOG_SHOWN).unwrap_or_default();
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
