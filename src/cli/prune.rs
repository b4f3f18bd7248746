//! `vmclaude prune`: finishes what a crashed session left behind.

use crate::cli::args::Prune;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use crate::session::volume::{self, Seen};
use crate::session::{apple, record};
use crate::settings::{self, Engine, Settings};

/// Removes the records of sessions that are not alive, whose processes died with them; and with Apple's `container`, every
/// container of ours that belongs to no living session.
///
/// # Errors
/// When another vmclaude is at it and hangs, the containers cannot be listed, or one cannot be removed.
pub(super) fn run(host: &Host, settings: &Settings) -> Result<Exit> {
    let records = record::prune(&host.dirs.runs())?;
    let containers = match settings.engine {
        Engine::Qemu => 0,
        Engine::Apple => containers(host, settings)?,
    };
    report::note(&match records + containers {
        0 => "no crashed session left anything behind".to_owned(),
        1 => "removed what a crashed session left behind".to_owned(),
        n if containers == 0 => format!("removed what {n} crashed sessions left behind"),
        _ => format!("removed {records} records and {containers} containers of crashed sessions"),
    });
    Ok(Exit::OK)
}

fn containers(host: &Host, settings: &Settings) -> Result<usize> {
    let left = apple::sweep(&crate::run::apple::for_sweep(host, settings)?, &host.dirs.runs())?;
    match left.stuck.first() {
        None => Ok(left.removed.len()),
        Some(name) => Err(Failure::new(format!("cannot remove the container {name}"))
            .because("Apple's container refuses, or does not answer")
            .next("container system stop && container system start && vmclaude prune")),
    }
}

/// As [`run`], when the settings say something that makes no sense: that is another verb's to tell.
pub(super) fn run_anyway(host: &Host, words: &Prune) -> Result<Exit> {
    let settings = settings::load(host);
    if words.volumes {
        volumes(host, settings.as_ref().ok(), words.yes)?;
    }
    match settings {
        Ok(settings) => run(host, &settings),
        Err(e) => {
            record::prune(&host.dirs.runs())?;
            Err(e)
        }
    }
}

/// Removes every volume that no session has, after asking.
fn volumes(host: &Host, settings: Option<&Settings>, yes: bool) -> Result<()> {
    let state = &host.dirs.state;
    volume::sweep(state);
    let apple = settings.filter(|settings| settings.engine == Engine::Apple);
    let apple = apple.map(|settings| crate::run::apple::for_sweep(host, settings)).transpose()?;
    let mut all = volume::all(state);
    if let Some(container) = &apple {
        all.extend(apple::volume::all(container, state)?);
    }
    let (busy, free): (Vec<Seen>, Vec<Seen>) = all.into_iter().partition(|seen| seen.in_use);
    for seen in &busy {
        report::note(&format!("a session has the volume of {}: it stays", project(host, seen)));
    }
    if free.is_empty() {
        report::note("there is no volume to remove");
        return Ok(());
    }
    if !yes {
        confirm(host, &free)?;
    }
    let (mut removed, mut bytes) = (0, 0);
    for seen in &free {
        let gone = match apple.as_ref().filter(|_| seen.name.is_some()) {
            Some(container) => apple::volume::remove(container, state, seen)?,
            None => volume::remove(&seen.file)?,
        };
        match gone {
            true => (removed, bytes) = (removed + 1, bytes + seen.allocated),
            false => report::note(&format!("a session has just taken the volume of {}: it stays", project(host, seen))),
        }
    }
    let plural = if removed == 1 { "volume" } else { "volumes" };
    report::note(&format!("removed {removed} {plural}, {} of this disk", report::size(bytes)));
    Ok(())
}

fn confirm(host: &Host, free: &[Seen]) -> Result<()> {
    if !host.can_ask() {
        return Err(Failure::usage("refusing to remove volumes without asking")
            .because("there is no terminal to ask on")
            .next("vmclaude prune --volumes --yes"));
    }
    for seen in free {
        report::note(&format!("  {:>10}  {}", report::size(seen.allocated), project(host, seen)));
    }
    match report::agreed("Remove these volumes, with everything in them?", false)? {
        true => Ok(()),
        false => Err(Failure::usage("no volume was removed").because("you did not say yes").next("vmclaude status")),
    }
}

/// The project as a person knows it: its path when it last ran, or else the volume's own name.
fn project(host: &Host, seen: &Seen) -> String {
    let noted = std::fs::read(host.dirs.guest_home.join("projects").join(&seen.project).join("path"));
    let path = noted.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned());
    path.unwrap_or_else(|_| seen.file.display().to_string())
}
