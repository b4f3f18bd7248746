//! `claude --add-dir DIR` on the host must not reach into an enrolled tree.

use crate::decide::{Chain, Verdict, in_tree};
use crate::refusal::Refusal;
use crate::registry::Registry;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The refusal for the first `--add-dir` among `args` that lies in an enrolled tree. `home` is what `~` stands for.
pub fn refused(registry: Option<&Registry>, home: Option<&OsStr>, args: &[&[u8]]) -> Option<Refusal> {
    let registry = registry.filter(|r| !r.is_empty())?;
    let dirs = named(args).into_iter();
    dirs.flat_map(|dir| meanings(dir, home).into_iter().map(move |meant| (dir, meant))).find_map(|(dir, meant)| {
        let Some(meant) = meant else {
            let error = "it begins with ~, and HOME is not set".to_owned();
            return Some(Refusal::Unknown { path: dir.to_path_buf(), error });
        };
        // A directory that is not there is Claude's to complain about.
        let real = crate::identity::real_path(&meant).ok()?;
        match in_tree(registry, &Chain::of(real)) {
            Verdict::Host { .. } => None,
            Verdict::Vm(tree) => Some(Refusal::AddDir { dir: dir.to_path_buf(), root: tree.root }),
            Verdict::Refuse(refusal) => Some(refusal),
        }
    })
}

/// What Claude makes of the word, and the word itself: shells leave `~` alone behind a `=`, so Claude reads it, and takes spaces
/// off. `None` for a home that nobody knows.
fn meanings(dir: &Path, home: Option<&OsStr>) -> [Option<PathBuf>; 2] {
    let trimmed = dir.to_str().map_or(dir, |text| Path::new(text.trim()));
    let meant = match trimmed.strip_prefix("~") {
        Ok(rest) => home.map(|home| Path::new(home).join(rest)),
        Err(_) => Some(trimmed.to_path_buf()),
    };
    [Some(dir.to_path_buf()), meant]
}

/// The directories behind `--add-dir`, which takes every word up to the next option.
fn named<'a>(args: &[&'a [u8]]) -> Vec<&'a Path> {
    let mut dirs: Vec<&[u8]> = Vec::new();
    let mut open = false;
    for arg in args {
        if *arg == b"--" {
            break;
        }
        if let Some(value) = arg.strip_prefix(b"--add-dir=") {
            dirs.push(value);
            open = true;
        } else if *arg == b"--add-dir" {
            open = true;
        } else if arg.starts_with(b"-") {
            open = false;
        } else if open {
            dirs.push(arg);
        }
    }
    dirs.into_iter().map(|dir| Path::new(OsStr::from_bytes(dir))).collect()
}

/// Where the host's claude could reach although it starts outside: one line for a terminal.
pub fn notice(below: &Path) -> String {
    let below: PathBuf = crate::refusal::shown(below).into();
    format!("vmclaude: claude runs on the host here and can reach the enrolled {}\n", below.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_up_to_the_next_option_is_a_directory() {
        let args: Vec<&[u8]> =
            vec![b"-p", b"x", b"--add-dir", b"/a", b"b", b"--model", b"m", b"--add-dir=/c", b"--", b"--add-dir", b"/d"];
        assert_eq!(named(&args), [Path::new("/a"), Path::new("b"), Path::new("/c")]);
    }

    #[test]
    fn a_tilde_and_spaces_are_what_claude_makes_of_them() {
        let home = Some(OsStr::new("/h"));
        for (word, meant) in [
            ("~", Some("/h")),
            ("~/a b", Some("/h/a b")),
            (" \t~/x/../y\u{a0}", Some("/h/x/../y")),
            (" /x ", Some("/x")),
            ("~other/x", Some("~other/x")),
            ("./~", Some("./~")),
        ] {
            assert_eq!(meanings(Path::new(word), home), [Some(word.into()), meant.map(PathBuf::from)]);
        }
        assert_eq!(meanings(Path::new("~/x"), None)[1], None);
    }
}
