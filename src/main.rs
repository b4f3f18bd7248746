//! Captures the host's facts, runs the invocation, and ends as it says.

use std::process::ExitCode;
use vmclaude::{cli, exit::Exit, host::Host, report};

fn main() -> ExitCode {
    match Host::capture().and_then(|host| cli::run(&host)) {
        Ok(Exit::Code(code)) => ExitCode::from(code),
        Ok(exit) => ExitCode::from(exit.shell_code()),
        Err(failure) => {
            report::failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}
