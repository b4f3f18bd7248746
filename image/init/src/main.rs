//! The guest supervisor: PID 1 and its one child. Speaks the wire, runs one command, and ends the machine.
//!
//! Where it finds its modules it was started by the kernel of a machine of QEMU's: it prepares the root and powers off at the
//! end. Elsewhere it is the first process of a container of Apple's, where everything is mounted already.
//!
//! The wire is the sign of life: when it ends, for whatever reason, everything here is killed and the VM is off.

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
mod relay;
mod session;
mod setup;
mod signals;
mod sys;
mod template;
mod trust;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use relay::Async;
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

/// What was made ready before the host had said anything.
pub(crate) struct Prepared {
    network: io::Result<net::Prepared>,
    memory: io::Result<memory::Shared>,
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
    let prepared = Prepared { network: net::prepare(), memory: memory::prepare() };
    if template::wanted() {
        template::settle();
    }
    if let Err(e) = sys::take_turns() {
        sys::log(&format!("our turns: {e}"));
    }
    run(Place::Machine, Port::One(boot::open_wire()?), None, prepared)
}

fn in_container() -> io::Result<()> {
    sys::log_to_stderr();
    setup::prepare(Place::Container)?;
    // It is up already where the system does that.
    let _ = sys::loopback_up();
    // The host does not see a container's memory.
    let prepared = Prepared { network: net::prepare(), memory: Err(io::ErrorKind::Unsupported.into()) };
    let (port, life) = container::open_wire()?;
    run(Place::Container, port, life, prepared)
}

/// PID 1 has prepared, and then only waits: the kernel does not let a job be stopped whose parent is PID 1, so the parent of
/// the command is a process of its own, which also takes in the orphans.
fn run(place: Place, port: Port, life: Option<File>, prepared: Prepared) -> io::Result<()> {
    // SAFETY: there is one thread, so the child may do whatever it likes.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop((port, life, prepared));
            while !matches!(
                waitpid(child, None),
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD)
            ) {}
            Ok(())
        }
        ForkResult::Child => {
            nix::sys::prctl::set_child_subreaper(true)?;
            sys::spare_from_oom();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            if let Err(e) = runtime.block_on(serve(place, port, life, prepared)) {
                sys::log(&format!("{e}"));
            }
            power::gone()
        }
    }
}

/// Serves until the session is over or the host is gone, which the end of `life` says as well.
async fn serve(place: Place, port: Port, life: Option<File>, prepared: Prepared) -> io::Result<()> {
    let session = async {
        match port {
            Port::One(port) => session::serve(place, Async::new(port)?, prepared).await,
            Port::Two(from, to) => session::serve(place, join(Async::new(from)?, Async::new(to)?), prepared).await,
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
