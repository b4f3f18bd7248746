//! The shells' hooks: real files with holes, filled with quoted paths and nothing else.

pub mod claude;
mod splice;

use crate::error::{Failure, Result};
use std::path::{Path, PathBuf};

/// In the state directory: the roots of trees in which something waits for a review, one a line; not there when nothing does.
pub const PENDING: &str = "review.pending";

/// Shells that have a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// zsh 5.8 and later
    Zsh,
    /// bash 3.2 and later
    Bash,
    /// fish 3.2 and later
    Fish,
}

impl Shell {
    /// All of them.
    pub const ALL: [Shell; 3] = [Shell::Zsh, Shell::Bash, Shell::Fish];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Shell::Zsh => "zsh",
            Shell::Bash => "bash",
            Shell::Fish => "fish",
        }
    }
}

/// Where enrollment puts a shell's hook.
pub fn file(state: &Path, shell: Shell) -> PathBuf {
    state.join(format!("hook.{}", shell.name()))
}

/// The hook of a shell for this state directory.
///
/// # Errors
/// When the state directory's name is not text.
pub fn render(shell: Shell, state: &Path) -> Result<String> {
    match shell {
        Shell::Zsh => {
            let guard = fill(include_str!("../shell/vmclaude.guard.zsh"), shell, state)?;
            let outer = fill(include_str!("../shell/vmclaude.zsh"), shell, state)?;
            Ok(outer.replace("@GUARD@", &quote(shell, &guard)))
        }
        Shell::Bash => fill(include_str!("../shell/vmclaude.bash"), shell, state),
        Shell::Fish => fill(include_str!("../shell/vmclaude.fish"), shell, state),
    }
}

/// For login shells and scripts: our directory first on PATH, and no more.
///
/// # Errors
/// When the state directory's name is not text.
pub fn env(state: &Path) -> Result<String> {
    fill(include_str!("../shell/env.sh"), Shell::Bash, state)
}

/// The lines for a shell's start file. They refuse claude when the hook is missing or was cut off.
///
/// # Errors
/// When the state directory's name is not text.
pub fn start_lines(shell: Shell, state: &Path) -> Result<String> {
    let hook = quote(shell, text(&file(state, shell))?);
    Ok(match shell {
        Shell::Fish => include_str!("../shell/rc.fish").replace("@HOOK@", &hook),
        Shell::Zsh => include_str!("../shell/rc.sh").replace("@HOOK@", &hook),
        // bash does not take quotes around a function's name, and does not need them.
        Shell::Bash => include_str!("../shell/rc.sh").replace(r"'\''claude'\''", "claude").replace("@HOOK@", &hook),
    })
}

/// A word that the shell reads back as exactly this text.
pub fn quote(shell: Shell, text: &str) -> String {
    match shell {
        Shell::Zsh | Shell::Bash => format!("'{}'", text.replace('\'', r"'\''")),
        Shell::Fish => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

fn fill(template: &str, shell: Shell, state: &Path) -> Result<String> {
    let shims = state.join("shims");
    let own = |hole, name: &str| (hole, state.join(name));
    let holes = [
        ("@SHIM@", shims.join("claude")),
        ("@SHIMS@", shims),
        own("@WHERE@", "where"),
        own("@STAMP@", "stamp"),
        own("@PENDING@", PENDING),
    ];
    // Piece by piece, so that a path that looks like a hole is not filled again.
    let mut out = String::with_capacity(template.len() + 1024);
    let mut rest = template;
    while let Some((at, hole, path)) =
        holes.iter().filter_map(|(hole, path)| Some((rest.find(hole)?, *hole, path))).min_by_key(|(at, ..)| *at)
    {
        out.push_str(&rest[..at]);
        out.push_str(&quote(shell, text(path)?));
        rest = &rest[at + hole.len()..];
    }
    out.push_str(rest);
    Ok(out)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Failure::refused(format!("cannot write {} into a shell hook", path.display()))
            .because("its name is not valid UTF-8")
            .next("export XDG_STATE_HOME=$HOME/.local/state")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_hole_is_left_and_a_path_like_a_hole_is_not_filled() {
        let state = Path::new("/s/@SHIMS@ it's");
        for shell in Shell::ALL {
            let hook = render(shell, state).expect("text");
            assert!(hook.contains("/s/@SHIMS@ it"), "{hook}");
            for hole in ["@SHIM@", "@WHERE@", "@STAMP@", "@PENDING@", "@GUARD@", "@HOOK@"] {
                assert!(!hook.contains(hole), "{hole} in the hook of {shell:?}");
            }
            assert!(hook.trim_end().ends_with('1'), "the end mark is the last line");
            assert!(hook.is_ascii());
            assert!(start_lines(shell, state).expect("text").contains("hook."));
        }
    }

    #[test]
    fn quotes_and_backslashes_survive() {
        assert_eq!(quote(Shell::Zsh, r"a'b\c"), r"'a'\''b\c'");
        assert_eq!(quote(Shell::Fish, r"a'b\c"), r"'a\'b\\c'");
    }
}
