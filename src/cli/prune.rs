//! `vmclaude prune`: finishes what a crashed session left behind.

use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use crate::session::record;

/// Removes the records of sessions that are not alive; their processes died with them.
///
/// # Errors
/// When another vmclaude is at it, and hangs.
pub(super) fn run(host: &Host) -> Result<Exit> {
    report::note(&match record::prune(&host.dirs.runs())? {
        0 => "no crashed session left anything behind".to_owned(),
        1 => "removed what a crashed session left behind".to_owned(),
        n => format!("removed what {n} crashed sessions left behind"),
    });
    Ok(Exit::OK)
}
