//! What a walk finds: data only.

use super::names;
use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Files up to this size are compared and kept byte by byte.
pub(super) const KEPT: u64 = 1 << 20;
/// So many directories are remembered that could not be looked into.
const GAPS: usize = 1000;
/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Names in all.
    pub names: usize,
    /// Directories below each other.
    pub depth: usize,
    /// Time.
    pub time: Duration,
    /// Bytes that are read.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { names: 200_000, depth: 40, time: Duration::from_secs(2), bytes: 64 << 20 }
    }
}

/// What a listed file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Why it is listed: who runs it, or what is odd about it.
    pub why: String,
    /// What it is: `file`, `link`, `dir`, or another word.
    pub kind: String,
    /// Its permissions.
    pub mode: u32,
    /// SHA-256 of what is in it; of a link, of where it leads. `None`: too large, or nothing that can be read.
    pub sha: Option<String>,
    /// Size, inode, and the two times that a change moves; a change of contents that keeps all of them does not exist.
    pub stamp: [i64; 6],
}

impl Entry {
    /// Whether the two are the same to whoever runs them.
    pub fn is_like(&self, other: &Entry) -> bool {
        let contents = match (&self.sha, &other.sha) {
            (None, None) => self.stamp == other.stamp,
            (a, b) => a == b,
        };
        contents && self.kind == other.kind && self.mode == other.mode
    }
}

/// The listed files of one tree, by their path as text.
pub type Tree = BTreeMap<String, Entry>;

/// A walk's result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What is listed.
    pub tree: Tree,
    /// Why the walk did not see everything; `None`: it did.
    pub skipped: Option<String>,
    /// How many names it saw.
    pub names: usize,
    /// The directories that it could not look into: of what is in them nothing is known.
    #[serde(default)]
    pub gaps: Vec<String>,
    /// Whether it ended early: of what is not listed nothing is known. (Older programs did not tell the two apart.)
    #[serde(default = "yes")]
    pub ended: bool,
}

impl Found {
    /// The directory at `path` is not looked into, or not to its end.
    pub(super) fn gap(&mut self, path: &[u8], why: &str) {
        if path.is_empty() || self.gaps.len() == GAPS {
            return self.end(path, why);
        }
        self.skip(path, why);
        self.gaps.push(names::text(path));
    }

    /// Nothing more is looked at, from `path` on.
    pub(super) fn end(&mut self, path: &[u8], why: &str) {
        self.skip(path, why);
        self.ended = true;
    }

    /// The first that is not looked at is told.
    pub(super) fn skip(&mut self, path: &[u8], why: &str) {
        if self.skipped.is_none() {
            let at = if path.is_empty() { "the root".to_owned() } else { names::text(path) };
            self.skipped = Some(format!("{why}, at {at}"));
        }
    }

    /// Whether nobody can tell that nothing was at this path.
    pub(super) fn may_have_missed(&self, path: &str) -> bool {
        let below = |gap: &String| path.strip_prefix(gap.as_str()).is_some_and(|rest| rest.starts_with('/'));
        self.skipped.is_some() && (self.ended || self.gaps.iter().any(below))
    }
}

fn yes() -> bool {
    true
}

pub(super) fn stamp(stat: &FileStat) -> [i64; 6] {
    // A directory's times move with everything in it.
    if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
        return [0, stat.st_ino.cast_signed(), 0, 0, 0, 0];
    }
    [stat.st_size, stat.st_ino.cast_signed(), stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec]
}

/// What a file is, in a word.
pub(super) fn kind(stat: &FileStat) -> &'static str {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => "file",
        libc::S_IFDIR => "dir",
        libc::S_IFLNK => "link",
        libc::S_IFIFO => "pipe",
        libc::S_IFSOCK => "socket",
        _ => "device",
    }
}

/// Its permissions.
pub(super) fn mode(stat: &FileStat) -> u32 {
    #[allow(clippy::useless_conversion)] // macOS has 16 bits for it
    let mode = u32::from(stat.st_mode);
    mode & 0o7777
}

pub(super) fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
