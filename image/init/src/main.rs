//! The guest supervisor: PID 1 of the VM. Prepares the root, speaks the wire, runs one command, and powers off.
//!
//! The wire is the sign of life: when it ends, for whatever reason, everything here is killed and the VM is off.

mod boot;
mod command;
mod net;
mod power;
mod proxy;
mod relay;
mod session;
mod setup;
mod sys;

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

fn run() -> std::io::Result<()> {
    let port = boot::prepare()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(session::serve(port))
}
