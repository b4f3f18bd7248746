//! The guest supervisor: PID 1 of the VM and its one child. Prepares the root, speaks the wire, runs one command, and powers off.
//!
//! The wire is the sign of life: when it ends, for whatever reason, everything here is killed and the VM is off.

mod boot;
mod command;
mod keys;
mod net;
mod ports;
mod power;
mod proxy;
mod relay;
mod session;
mod setup;
mod sys;
mod template;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        return ExitCode::from(125); // Only of use as PID 1.
    }
    if let Err(e) = run() {
        sys::log(&format!("{e}"));
    }
    power::off()
}

/// PID 1 prepares, and then only waits: the kernel does not let a job be stopped whose parent is PID 1, so the parent of
/// the command is a process of its own, which also takes in the orphans.
fn run() -> std::io::Result<()> {
    boot::prepare()?;
    // Part of a template too: a copy then has its network at once.
    let network = net::prepare();
    if template::wanted() {
        template::settle();
    }
    let port = boot::open_wire()?;
    // SAFETY: there is one thread, so the child may do whatever it likes.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop((port, network));
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
            if let Err(e) = runtime.block_on(session::serve(port, network)) {
                sys::log(&format!("{e}"));
            }
            power::gone()
        }
    }
}
