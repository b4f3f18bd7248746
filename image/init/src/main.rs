//! The guest supervisor: PID 1 and its one child. Speaks the wire, runs one command, and ends the machine.
//!
//! Where it finds its modules it was started by the kernel of a machine of QEMU's: it prepares the root and powers off at the
//! end. Elsewhere it is the first process of a container of Apple's, where everything is mounted already.
//!
//! The wire is the sign of life: when it ends, for whatever reason, everything here is killed and the VM is off.

mod ahead;
mod approve;
mod boot;
mod carry;
mod command;
mod container;
mod demand;
mod doors;
mod keys;
mod local;
mod look;
mod memory;
mod net;
mod notice;
mod ports;
mod power;
mod proxy;
mod rehearsal;
mod relay;
mod runner;
mod session;
mod setup;
mod signals;
mod slot;
mod sys;
mod template;
mod trust;
mod why;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use rehearsal::Rehearsal;
use relay::Async;
use runner::Runner;
use std::fs::File;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use tokio::io::join;

/// Where we are the first process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a machine of QEMU's: all of it is ours.
    Machine,
    /// In a container of Apple's: its files and its network are ours, the rest is the system's.
    Container,
}

/// The way to the host, before anything was said on it.
pub(crate) enum Port {
    /// One descriptor for both directions.
    One(File),
    /// One to read and one to write.
    Two(File, File),
}

/// The way to the host, and what ends with the host where the way itself does not tell.
type Wire = (Port, Option<File>);

/// What was made ready before the host had said anything.
pub(crate) struct Prepared {
    network: io::Result<net::Prepared>,
    memory: io::Result<memory::Shared>,
    /// The certificates that are trusted, where that was found out before.
    known: Option<trust::Known>,
    /// The share's slot, where its device was taken out.
    share: Option<slot::Emptied>,
}

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return ExitCode::from(125); // Only of use as PID 1.
    }
    let place = if boot::is_machine() { Place::Machine } else { Place::Container };
    let done = match place {
        Place::Machine => in_machine(),
        Place::Container => in_container(),
    };
    if let Err(e) = done {
        sys::log(&format!("{e}"));
    }
    power::off(place)
}

fn in_machine() -> io::Result<()> {
    boot::prepare()?;
    setup::prepare(Place::Machine)?;
    // Part of a template too: a copy then has its network at once.
    let mut prepared = Prepared { network: net::prepare(), memory: memory::prepare(), known: None, share: None };
    let template = template::wanted();
    if template {
        prepared.share = Some(slot::take_out()?);
    }
    boot::start_processors();
    if template {
        prepared.known = Some(trust::Known::read());
        template::settle();
    }
    if let Err(e) = sys::take_turns() {
        sys::log(&format!("our turns: {e}"));
    }
    run(Place::Machine, prepared, || Ok((Port::One(boot::open_wire()?), None)))
}

fn in_container() -> io::Result<()> {
    sys::log_to_stderr();
    setup::prepare(Place::Container)?;
    // It is up already where the system does that.
    let _ = sys::loopback_up();
    // The host does not see a container's memory.
    let prepared =
        Prepared { network: net::prepare(), memory: Err(io::ErrorKind::Unsupported.into()), known: None, share: None };
    let wire = container::open_wire()?;
    run(Place::Container, prepared, || Ok(wire))
}

/// PID 1 has prepared, and then only waits: the kernel does not let a job be stopped whose parent is PID 1, so the parent of
/// the command is a process of its own, which also takes in the orphans.
fn run(place: Place, mut prepared: Prepared, wire: impl FnOnce() -> io::Result<Wire>) -> io::Result<()> {
    // SAFETY: there is one thread, so the child may do whatever it likes.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop((wire, prepared));
            while !matches!(
                waitpid(child, None),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD)
            ) {}
            Ok(())
        }
        ForkResult::Child => {
            nix::sys::prctl::set_child_subreaper(true)?;
            if let Ok(memory) = &mut prepared.memory {
                memory.settle();
            }
            sys::spare_from_oom();
            let (runner, rehearsal) = (Runner::new(place)?, Rehearsal::new(place));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            if let Err(e) = runtime.block_on(serve(place, (prepared, runner, rehearsal), wire)) {
                sys::log(&format!("{e}"));
            }
            power::gone()
        }
    }
}

/// Serves until the session is over or the host is gone, which the end of the sign of life says as well. The wire is opened last:
/// whoever saves this machine takes that for the word that nothing is left to do.
async fn serve(
    place: Place,
    (prepared, runner, rehearsal): (Prepared, Runner, Rehearsal),
    wire: impl FnOnce() -> io::Result<Wire>,
) -> io::Result<()> {
    let opened = session::Opened::new(prepared, runner)?;
    let (port, life) = wire()?;
    let session = async {
        match port {
            Port::One(port) => session::serve(place, Async::new(port)?, opened, rehearsal).await,
            Port::Two(from, to) => {
                session::serve(place, join(Async::new(from)?, Async::new(to)?), opened, rehearsal).await
            }
        }
    };
    let end = async {
        match life {
            Some(life) => container::ended(life).await,
            None => pending().await,
        }
    };
    tokio::select! {
        served = session => served,
        () = end => Ok(()),
    }
}
