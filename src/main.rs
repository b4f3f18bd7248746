//! Captures the host's facts, runs the invocation, and ends as it says.

use std::panic::catch_unwind;
use std::process::ExitCode;
use vmclaude::exit::{Exit, VM_FAILED};
use vmclaude::{cli, error::Result, host::Host, report, session::signals};

fn main() -> ExitCode {
    report::own_faults();
    let done = catch_unwind(|| cli::without_facts().unwrap_or_else(|| Host::capture().and_then(run)));
    let Ok(done) = done else { return ExitCode::from(VM_FAILED) };
    match done {
        Ok(exit) => {
            if let Exit::Signal(number) = exit {
                signals::die_of(number); // Comes back only for a signal that does not kill.
            }
            ExitCode::from(exit.shell_code())
        }
        Err(failure) => {
            report::failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

fn run(host: Host) -> Result<Exit> {
    report::log::start(&host);
    cli::run(&host)
}
