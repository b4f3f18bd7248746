//! `vmclaude completions`: completions for a shell, made from the definitions of the command line.

use crate::cli::args::{Completions, Container, Vmclaude};
use crate::error::Result;
use crate::exit::Exit;
use crate::hook::Shell;
use crate::report;
use clap::CommandFactory;

/// Prints the completions of both programs.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn run(words: &Completions) -> Result<Exit> {
    let shell = match words.shell {
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Vmclaude::command(), "vmclaude", &mut text);
    // zsh loads a file by its first line, which names one program.
    if words.shell != Shell::Zsh {
        clap_complete::generate(shell, &mut Container::command(), "vmclaude-container", &mut text);
    }
    report::data(&String::from_utf8_lossy(&text))?;
    Ok(Exit::OK)
}
