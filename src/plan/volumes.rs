//! Directories of a project that are not the host's: heavy, made by programs, and kept on a disk of the guest's own.

use super::limits::parse_memory;
use super::protect::{Protected, below};
use crate::error::{Failure, Result};
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// The most that one project may name.
const MOST: usize = 16;
/// The longest path, in bytes: it is one name on the disk.
const LONGEST: usize = 200;
/// Names that are the host's alone, wherever they are.
const NEVER: [&str; 2] = [".git", super::request::FILE];

/// One of them: a path from the project's root, of plain names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Dir(PathBuf);

impl Dir {
    /// From the project's root.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl TryFrom<String> for Dir {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Dir, String> {
        let bad = |why: &str| Err(format!("{text:?} cannot be on a VM's own disk: {why}"));
        let Some(path) = below(&text).filter(|_| !text.chars().any(char::is_control)) else {
            return bad("it is no plain path below the project's root, such as node_modules");
        };
        if path.as_os_str().len() > LONGEST {
            return bad("it is longer than 200 bytes");
        }
        match path.iter().any(|name| NEVER.iter().any(|never| same(name.as_encoded_bytes(), never.as_bytes()))) {
            true => bad("the host's Git and vmclaude are led by what is there"),
            false => Ok(Dir(path)),
        }
    }
}

/// Whether two names are one on some file system: without case, and without dots and spaces at their end.
fn same(a: &[u8], b: &[u8]) -> bool {
    let end = |name: &[u8]| name.iter().rposition(|b| *b != b'.' && *b != b' ').map_or(0, |at| at + 1);
    a[..end(a)].eq_ignore_ascii_case(&b[..end(b)])
}

/// What is written of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Volumes {
    /// Which they are.
    pub local: Vec<Dir>,
    /// The most that they take together.
    pub size: Size,
}

/// A size in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl Default for Size {
    fn default() -> Size {
        Size(64 << 10)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Size, String> {
        parse_memory("size", &text).map(Size).map_err(|_| format!("{text:?} is no size from 512M to 1024G"))
    }
}

/// The directories of one run, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// From the project's root.
    pub dirs: Vec<PathBuf>,
    /// The file that keeps them; `None`: they are empty, and vanish with the machine.
    pub volume: Option<PathBuf>,
    /// What the file is made for, in MiB, where it has to be made.
    pub size: u64,
}

impl Volumes {
    /// The same with more directories.
    pub fn extend(&mut self, more: &[Dir]) {
        self.local.extend(more.iter().filter(|dir| !self.local.contains(dir)).cloned().collect::<Vec<_>>());
    }

    /// The directories of a project whose protected paths are these, kept in the file `volume`; `None`: there are none.
    ///
    /// # Errors
    /// When one is protected or lies below what is, or there are too many (exit 64).
    pub fn of_run(&self, protected: &[Protected], tag: &str, volume: PathBuf) -> Result<Option<Local>> {
        let mut dirs: Vec<PathBuf> = self.local.iter().map(|dir| dir.0.clone()).collect();
        dirs.sort();
        dirs.dedup();
        let all = dirs.clone();
        dirs.retain(|dir| !all.iter().any(|other| other != dir && dir.starts_with(other)));
        let refused = |dir: &Path, why: String| {
            Err(Failure::usage(format!("{} cannot be on a VM's own disk", dir.display()))
                .because(why)
                .next("[volumes] local = [\"node_modules\", \"target\"]   # in config.toml"))
        };
        if let Some(dir) = dirs.get(MOST) {
            return refused(dir, format!("{} directories are named, and {MOST} are possible", dirs.len()));
        }
        for dir in &dirs {
            let held = protected.iter().find(|p| p.tag == tag && lies_in(dir, &p.path));
            if let Some(held) = held {
                return refused(dir, format!("{} is protected", held.path.display()));
            }
        }
        Ok((!dirs.is_empty()).then_some(Local { dirs, volume: Some(volume), size: self.size.0 }))
    }
}

/// As `starts_with`, for names that some file system takes for one.
fn lies_in(path: &Path, above: &Path) -> bool {
    let mut names = path.iter();
    above.iter().all(|name| names.next().is_some_and(|n| same(n.as_encoded_bytes(), name.as_encoded_bytes())))
}

/// The directories as a person reads them.
pub fn listed(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(text: &str) -> std::result::Result<Dir, String> {
        Dir::try_from(text.to_owned())
    }

    fn volumes(dirs: &[&str]) -> Volumes {
        Volumes { local: dirs.iter().map(|d| dir(d).expect("a directory")).collect(), size: Size::default() }
    }

    #[test]
    fn names_are_plain_paths_below_the_project() {
        assert_eq!(dir("./packages/web/node_modules/").expect("fine").path(), Path::new("packages/web/node_modules"));
        for fine in ["node_modules", ".venv", "a.git", ".github", "..."] {
            assert!(dir(fine).is_ok(), "{fine}");
        }
        let long = "a/".repeat(101);
        for bad in [
            "",
            ".",
            "/",
            "/etc",
            "..",
            "a/../b",
            "../x",
            "a\nb",
            "a\0",
            ".git",
            "a/.git",
            ".GIT/objects",
            ".git.",
            ".git ",
            ".vmclaude.toml",
            ".VmClaude.toml/x",
            &long,
        ] {
            assert!(dir(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_protected_stays_the_hosts() {
        let held = |path: &str| Protected { tag: "workspace".into(), path: path.into(), exact: false };
        let of = |dirs: &[&str], held: &[Protected]| volumes(dirs).of_run(held, "workspace", "/v".into());
        let held = [held(".vscode"), held("deploy/keys"), held("target/release/key")];
        for bad in [".vscode", ".VSCODE/x", "deploy/keys", "deploy/keys/a"] {
            let refused = of(&["node_modules", bad], &held).expect_err(bad);
            assert!(refused.code == crate::exit::USAGE && refused.because[0].contains("protected"), "{refused}");
        }
        // What holds something protected hides it, which changes nothing of it.
        let fine = of(&["deploy", "target", ".vscode2"], &held).expect("fine").expect("some");
        assert_eq!(fine.dirs, [".vscode2", "deploy", "target"].map(PathBuf::from));
        assert!(
            volumes(&["a"])
                .of_run(&[Protected { tag: "git".into(), path: "a".into(), exact: false }], "workspace", "/v".into())
                .is_ok()
        );
    }

    #[test]
    fn one_in_another_is_the_others_and_none_is_none() {
        let of = |dirs: &[&str]| volumes(dirs).of_run(&[], "workspace", "/v".into());
        let local = of(&["a/b", "a", "ab", "a", "c/d"]).expect("fine").expect("some");
        assert_eq!(local.dirs, ["a", "ab", "c/d"].map(PathBuf::from));
        assert_eq!((local.volume, local.size), (Some("/v".into()), 65536));
        assert_eq!(of(&[]).expect("fine"), None);
        let many: Vec<String> = (0..17).map(|n| format!("d{n}")).collect();
        assert!(of(&many.iter().map(String::as_str).collect::<Vec<_>>()).is_err());
    }

    #[test]
    fn sizes_are_understood_or_refused() {
        let read = |text: &str| toml::from_str::<Volumes>(text);
        assert_eq!(read("size = '2G'").expect("fine").size, Size(2048));
        for bad in ["size = '1M'", "size = 4", "size = ''", "local = 'x'", "local = ['..']", "locale = []"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
