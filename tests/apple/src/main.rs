//! A program named `container` that stands in for Apple's 1.2.2 in tests: it accepts exactly what that accepts, and behaves as
//! its source says, faults included. `README.md` says what it stands for and what it does not.

mod cli;
mod client;
mod machine;
mod orders;
mod protocol;
mod run_words;
mod runtime;
mod service;
mod state;
mod volumes;

use cli::{Spec, Words};
use state::State;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Says something on stderr, where everything is said that is no data.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Data.
pub(crate) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A run-time error as it is worded.
pub(crate) fn fail((code, message): (&str, String)) -> ExitCode {
    say(&format!("Error: {code}: \"{message}\""));
    ExitCode::from(1)
}

#[allow(clippy::disallowed_methods)] // Host is for the program under test
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    match words.first().map(String::as_str) {
        Some(word) if word == vmclaude::share::VERB => {
            return match vmclaude::share::serve() {
                Ok(exit) => ExitCode::from(exit.shell_code()),
                Err(failure) => {
                    say(&failure.to_string());
                    ExitCode::from(failure.code)
                }
            };
        }
        Some(runtime::VERB) => return runtime::main(&words[1..]),
        _ => {}
    }
    let state = State::open();
    let spec = Spec::load();
    match spec.parse(&words) {
        Words::Help => {
            print("OVERVIEW: A container platform for macOS");
            ExitCode::SUCCESS
        }
        Words::Version => {
            let version = &state.double().client;
            print(&format!("container CLI version {version} (build: release, commit: unspeci)"));
            ExitCode::SUCCESS
        }
        Words::Usage(message) => {
            say(&format!(
                "Error: {message}\nUsage: container <subcommand>\n  See 'container --help' for more information."
            ));
            ExitCode::from(64)
        }
        Words::Run(parsed) => {
            trouble(&state, &parsed.command);
            match parsed.command.as_str() {
                "run" => client::run(&state, &spec, &parsed),
                "list" => orders::list(&state, &parsed),
                "inspect" => orders::inspect(&state, &parsed),
                "delete" => orders::delete(&state, &parsed),
                "kill" => orders::kill(&state, &parsed),
                "stop" => orders::stop(&state, &parsed),
                "volume create" => volumes::create(&state, &parsed),
                "volume list" => volumes::list(&state, &parsed),
                "volume delete" => volumes::delete(&state, &parsed),
                "image inspect" => service::image_inspect(&state, &parsed),
                "build" => service::build(&state, &parsed),
                "system version" => service::version(&state),
                "system status" => service::status(&state),
                "system start" => service::start(&state, &parsed),
                "system stop" => service::stop(&state),
                other => fail(("unsupported", format!("the double knows no {other}"))),
            }
        }
    }
}

/// Hangs and slow answers on demand.
fn trouble(state: &State, command: &str) {
    let double = state.double();
    if double.hang.iter().any(|c| c == command) {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    if let Some(millis) = double.slow.get(command) {
        std::thread::sleep(Duration::from_millis(*millis));
    }
}
