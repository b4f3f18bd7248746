//! `vmclaude hook`: the text that enrollment also puts beside the registry.

use crate::cli::args::Hook;
use crate::enrollment::shown;
use crate::enrollment::store::{Store, install};
use crate::error::Result;
use crate::exit::Exit;
use crate::hook::{render, start_lines};
use crate::host::Host;
use crate::report;
use vmclaude_shim::registry::FILE;

/// Prints the hook of a shell or the lines that load it, or puts all hooks in place.
///
/// # Errors
/// When the state directory's name is not text, a file cannot be written, or stdout cannot.
pub(super) fn run(host: &Host, words: &Hook) -> Result<Exit> {
    let state = &host.dirs.state;
    match words.shell {
        None => put_in_place(host)?,
        Some(shell) if words.rc => report::data(&start_lines(shell, state)?)?,
        Some(shell) => report::data(&render(shell, state)?)?,
    }
    Ok(Exit::OK)
}

fn put_in_place(host: &Host) -> Result<()> {
    // With a registry, empty or not: from then on the shim would take a missing one for a lost one.
    let store = Store::open(host)?;
    install(host, &store.entries)?;
    if store.was_lost {
        // Not a failure: an upgrade has to be possible all the same, and what it brings refuses as well.
        let list = shown(&host.dirs.state.join(FILE));
        report::note(&format!(
            "the list of enrolled directories is missing ({list}): claude refuses to run in every directory\n  \
             until you put it back, or type vmclaude enroll in each directory that shall be enrolled"
        ));
    }
    Ok(())
}
