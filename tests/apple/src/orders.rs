//! `list`, `inspect`, `delete`, `kill`, `stop`.

use crate::cli::Parsed;
use crate::state::{State, lock};
use crate::{fail, print, say, service};
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) fn list(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = service::down(state) {
        return down;
    }
    let all: Vec<Value> = state
        .names()
        .iter()
        .filter_map(|name| state.shown(name))
        .filter(|c| words.has("all") || c["status"]["state"] == "running")
        .collect();
    match words.value("format") {
        // Compact, keys sorted, slashes escaped.
        Some("json") => print(&serde_json::to_string(&all).expect("JSON").replace('/', "\\/")),
        _ => all.iter().for_each(|c| print(c["id"].as_str().unwrap_or_default())),
    }
    ExitCode::SUCCESS
}

pub(crate) fn inspect(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = service::down(state) {
        return down;
    }
    let mut all = Vec::new();
    for name in &words.positionals {
        match state.names().contains(name).then(|| state.shown(name)).flatten() {
            Some(shown) => all.push(shown),
            None => return fail(("notFound", format!("container not found: {name}"))),
        }
    }
    print(&serde_json::to_string_pretty(&all).expect("JSON").replace('/', "\\/"));
    ExitCode::SUCCESS
}

/// Refuses what a careful caller never says.
fn only_named(words: &Parsed) -> Option<ExitCode> {
    match (words.has("all"), words.positionals.is_empty()) {
        (true, _) => Some(fail(("invalidArgument", "vmclaude must never act on all containers".into()))),
        (_, true) => Some(fail(("invalidArgument", "no containers specified and --all not supplied".into()))),
        _ => None,
    }
}

pub(crate) fn delete(state: &State, words: &Parsed) -> ExitCode {
    if let Some(refused) = service::down(state).or_else(|| only_named(words)) {
        return refused;
    }
    let mut code = ExitCode::SUCCESS;
    for name in &words.positionals {
        match delete_one(state, name, words.has("force")) {
            Ok(()) => print(name),
            Err(bad) => code = fail(bad),
        }
    }
    code
}

fn delete_one(state: &State, name: &str, force: bool) -> Result<(), (&'static str, String)> {
    let missing = || ("notFound", format!("container with ID {name} not found"));
    if !state.names().iter().any(|n| n == name) {
        return Err(missing());
    }
    let entity = state.entity(name).ok_or_else(missing)?;
    // One that boots has a helper, and whoever deletes it waits for that.
    let dir = state.container(name);
    let boots = dir.exists() && lock(&dir).is_err();
    match entity.state.as_str() {
        "stopped" if !boots => state.remove(name).map_err(|_| missing()),
        // Not even by force.
        "stopping" => Err(("invalidState", format!("container {name} is stopping and can not be deleted"))),
        _ if !force => Err(("invalidState", format!("container {name} is running and can not be deleted"))),
        _ => {
            signal(state, name, Signal::SIGUSR1)?;
            wait_gone(state, name);
            let _ = state.remove(name);
            Ok(())
        }
    }
}

/// To the helper, which is to its container what the service's helper is.
fn signal(state: &State, name: &str, signal: Signal) -> Result<(), (&'static str, String)> {
    let gone = || ("invalidState", "no runtime client exists: container is stopped".to_owned());
    let pid = fs::read_to_string(state.container(name).join("pid")).ok().and_then(|p| p.trim().parse().ok());
    send(Pid::from_raw(pid.ok_or_else(gone)?), signal).map_err(|_| gone())
}

fn wait_gone(state: &State, name: &str) {
    let end = Instant::now() + Duration::from_secs(15);
    let dir = state.container(name);
    let lives = || dir.exists() && lock(&dir).is_err();
    while lives() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn kill(state: &State, words: &Parsed) -> ExitCode {
    if let Some(refused) = service::down(state).or_else(|| only_named(words)) {
        return refused;
    }
    let which = match words.value("signal").unwrap_or("KILL").trim_start_matches("SIG") {
        "KILL" | "9" => Signal::SIGUSR1,
        "TERM" | "15" => Signal::SIGTERM,
        other => return fail(("invalidArgument", format!("the double cannot send {other}"))),
    };
    for name in &words.positionals {
        if let Err(bad) = signal(state, name, which) {
            return fail(bad);
        }
        print(name);
    }
    ExitCode::SUCCESS
}

pub(crate) fn stop(state: &State, words: &Parsed) -> ExitCode {
    if let Some(refused) = service::down(state).or_else(|| only_named(words)) {
        return refused;
    }
    for name in &words.positionals {
        if !state.names().contains(name) {
            say(&format!("Error: notFound: \"container with ID {name} not found\""));
            return ExitCode::from(1);
        }
        // One that is stopped stays so.
        let _ = signal(state, name, Signal::SIGTERM);
        print(name);
    }
    ExitCode::SUCCESS
}
