//! `vmclaude hook`: the text that enrollment also puts beside the registry.

use crate::cli::args::Hook;
use crate::error::Result;
use crate::exit::Exit;
use crate::hook::{render, start_lines};
use crate::host::Host;
use crate::report;

/// Prints the hook of a shell, or the lines that load it.
///
/// # Errors
/// When the state directory's name is not text, or stdout cannot be written.
pub(super) fn run(host: &Host, words: &Hook) -> Result<Exit> {
    let state = &host.dirs.state;
    report::data(&if words.rc { start_lines(words.shell, state)? } else { render(words.shell, state)? })?;
    Ok(Exit::OK)
}
