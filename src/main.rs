//! Captures the host's facts, runs the invocation, and ends as it says.

use std::process::ExitCode;
use vmclaude::{cli, error::Result, exit::Exit, host::Host, report, session::signals};

fn main() -> ExitCode {
    match cli::without_facts().unwrap_or_else(|| Host::capture().and_then(run)) {
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
