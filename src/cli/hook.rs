//! `vmclaude hook`: the text that enrollment also puts beside the registry.

use crate::cli::args::Hook;
use crate::enrollment::store::{Store, install};
use crate::error::Result;
use crate::exit::Exit;
use crate::hook::{render, start_lines};
use crate::host::Host;
use crate::report;

/// Prints the hook of a shell or the lines that load it, or puts all hooks in place.
///
/// # Errors
/// When the state directory's name is not text, a file cannot be written, or stdout cannot.
pub(super) fn run(host: &Host, words: &Hook) -> Result<Exit> {
    let state = &host.dirs.state;
    match words.shell {
        // With a registry, empty or not: from then on the shim would take a missing one for a lost one.
        None => install(host, &Store::open(host)?.entries)?,
        Some(shell) if words.rc => report::data(&start_lines(shell, state)?)?,
        Some(shell) => report::data(&render(shell, state)?)?,
    }
    Ok(Exit::OK)
}
