//! `vmclaude prune`: finishes what a crashed session left behind.

use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
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
pub(super) fn run_anyway(host: &Host) -> Result<Exit> {
    match settings::load(host) {
        Ok(settings) => run(host, &settings),
        Err(e) => {
            record::prune(&host.dirs.runs())?;
            Err(e)
        }
    }
}
