//! The protected paths of a session whose engine cannot keep a guest's root from changing them. Each is looked at by its own
//! name, before the walk and with bounds of its own: whatever else a guest makes, nobody gets tired before it is reached.

use super::classes::{Side, who};
use super::found::{Found, KEPT, sha};
use super::walk::Entry;
use super::{beneath, names};
use nix::dir::Dir;
use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How far one protected path is looked at: names, directories below each other, and bytes. There is no limit of time: what is so
/// bounded ends soon.
const NAMES: usize = 5_000;
const DEPTH: usize = 8;
const BYTES: u64 = 16 << 20;

/// The protected paths that are only checked, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protected {
    /// In the project, from its root.
    pub project: Vec<String>,
    /// In the git directory outside of it, from there.
    pub git: Vec<String>,
}

impl Protected {
    /// These paths of the project, and these of the git directory outside of it.
    pub fn new<'a>(project: impl IntoIterator<Item = &'a Path>, git: impl IntoIterator<Item = &'a Path>) -> Protected {
        let text = |path: &Path| names::text(path.as_os_str().as_bytes());
        Protected { project: project.into_iter().map(text).collect(), git: git.into_iter().map(text).collect() }
    }

    /// Those of one tree.
    pub fn of(&self, side: Side) -> &[String] {
        match side {
            Side::Project => &self.project,
            Side::Git => &self.git,
            Side::Home => &[],
        }
    }
}

/// The git directory outside of a project, as it is known after a session that was killed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Where it is.
    pub path: PathBuf,
    /// Its inode. (Devices have other numbers after a restart.)
    pub ino: u64,
}

/// How the protected paths were at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Which they are.
    pub protected: Protected,
    /// What was at and below those of the project.
    pub project: Found,
    /// What was at and below those of the git directory outside.
    pub git: Found,
    /// That directory.
    pub outside: Option<Outside>,
}

impl Checked {
    /// What could not be looked at.
    pub fn skipped(&self) -> Option<String> {
        self.project.skipped.clone().or(self.git.skipped.clone())
    }

    /// Takes over how it was before another session that runs: what that one's guest changed meanwhile is not how it shall be again.
    pub(super) fn inherit(&mut self, other: &Checked) {
        let sides = [(Side::Project, &mut self.project, &other.project), (Side::Git, &mut self.git, &other.git)];
        for (side, own, theirs) in sides {
            if side == Side::Git && self.outside != other.outside {
                continue;
            }
            let (mine, others) = (self.protected.of(side), other.protected.of(side));
            let both: Vec<&String> = mine.iter().filter(|path| others.contains(path)).collect();
            // What is on the way in place of a directory is listed too.
            let is_theirs = |path: &String| both.iter().any(|p| is_at_or_below(path, p) || is_at_or_below(p, path));
            own.tree.retain(|path, _| !is_theirs(path));
            let taken = theirs.tree.iter().filter(|(path, _)| is_theirs(path));
            own.tree.extend(taken.map(|(path, entry)| (path.clone(), entry.clone())));
        }
    }

    /// What was found in one tree.
    pub fn of(&self, side: Side) -> Option<&Found> {
        match side {
            Side::Project => Some(&self.project),
            Side::Git => Some(&self.git),
            Side::Home => None,
        }
    }
}

/// Looks at these paths beneath `root`; `keep` gets hash and bytes of each file.
pub(super) fn look(side: Side, root: &File, paths: &[String], keep: &mut dyn FnMut(&str, &[u8])) -> Found {
    let mut all = Found::default();
    for path in paths {
        let Some(path) = names::bytes(path) else { continue };
        let mut look = Look { side, keep, found: Found::default(), read: 0 };
        look.path(root, &path);
        let Found { tree, skipped, names, gaps, .. } = look.found;
        all.tree.extend(tree);
        all.names += names;
        all.skipped = all.skipped.or(skipped);
        all.gaps.extend(gaps);
    }
    all
}

struct Look<'a> {
    side: Side,
    keep: &'a mut dyn FnMut(&str, &[u8]),
    found: Found,
    read: u64,
}

impl Look<'_> {
    /// One protected path, and the directories on the way to it: what is there in place of one is listed, because a link there makes
    /// another file out of the path.
    fn path(&mut self, root: &File, path: &[u8]) {
        let Ok(mut dir) = root.try_clone() else { return self.found.gap(path, "it cannot be read") };
        let mut ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect::<Vec<_>>();
        ends.push(path.len());
        let mut start = 0;
        for end in ends {
            let (name, so_far) = (&path[start..end], &path[..end]);
            start = end + 1;
            let stat = match beneath::stat(&dir, OsStr::from_bytes(name)) {
                Ok(stat) => stat,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return,
                Err(e) => return self.found.gap(so_far, &e.to_string()),
            };
            if end == path.len() || !is_dir(&stat) {
                return self.one(&dir, name, so_far, &stat);
            }
            dir = match beneath::open_dir(&dir, name) {
                Ok(dir) => dir,
                Err(e) => return self.found.gap(so_far, &e.to_string()),
            };
        }
    }

    /// What is at a protected path, or on the way in place of a directory.
    fn one(&mut self, dir: &File, name: &[u8], path: &[u8], stat: &FileStat) {
        self.list(dir, name, path, stat);
        if is_dir(stat) {
            let below = beneath::open_dir(dir, name).and_then(|open| self.dir(&open, &mut path.to_vec(), 1));
            if let Err(e) = below {
                self.found.gap(path, &e.to_string());
            }
        }
    }

    /// What is in a directory. Whatever cannot be seen is told of the whole protected path.
    fn dir(&mut self, open: &File, path: &mut Vec<u8>, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(io::Error::other(format!("deeper than {DEPTH} directories")));
        }
        let mut dir = Dir::from_fd(beneath::open_dir(open, b".")?.into())?;
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.found.names >= NAMES {
                return Err(io::Error::other(format!("more than {NAMES} files")));
            }
            self.found.names += 1;
            let Ok(stat) = beneath::stat(open, OsStr::from_bytes(name)) else { continue };
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name);
            let done = match is_dir(&stat) {
                true => beneath::open_dir(open, name).and_then(|below| self.dir(&below, path, depth + 1)),
                false => {
                    self.list(open, name, path, &stat);
                    Ok(())
                }
            };
            path.truncate(length);
            done?;
        }
        Ok(())
    }

    fn list(&mut self, dir: &File, name: &[u8], path: &[u8], stat: &FileStat) {
        let kind = super::found::kind(stat);
        let bytes = match kind {
            "link" => beneath::link(dir, name).ok(),
            "file" if self.read < BYTES => beneath::read(dir, name, KEPT).ok().flatten(),
            _ => None,
        };
        self.read += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let sha = bytes.map(|bytes| {
            let sha = sha(&bytes);
            (self.keep)(&sha, &bytes);
            sha
        });
        let words: Vec<String> =
            path.split(|b| *b == b'/').map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
        let why = who(self.side, &words).unwrap_or("protected").to_owned();
        let entry = match kind {
            // Whichever directory it is: what counts is in it.
            "dir" => Entry { why, kind: kind.to_owned(), mode: 0, sha, stamp: [0; 6] },
            _ => Entry {
                why,
                kind: kind.to_owned(),
                mode: super::found::mode(stat),
                sha,
                stamp: super::found::stamp(stat),
            },
        };
        self.found.tree.insert(names::text(path), entry);
    }
}

/// Whether `path` is `above` or lies below it, by exactly these names.
pub(super) fn is_at_or_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}
