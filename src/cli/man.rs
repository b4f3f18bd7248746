//! `vmclaude man`: the man pages, made from the definitions of the command line.

use crate::cli::args::{Container, Man, Vmclaude};
use crate::error::{Context, Result};
use crate::exit::Exit;
use clap::CommandFactory;

/// Writes one page per program and verb into a directory.
///
/// # Errors
/// When the directory or a page cannot be written.
pub(super) fn run(words: &Man) -> Result<Exit> {
    let what = || format!("cannot write the man pages into {}", words.dir.display());
    std::fs::create_dir_all(&words.dir).what(what)?;
    for program in [Vmclaude::command(), Container::command()] {
        clap_mangen::generate_to(program.disable_help_subcommand(true), &words.dir).what(what)?;
    }
    Ok(Exit::OK)
}
