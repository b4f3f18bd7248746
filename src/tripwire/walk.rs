//! The walk: every file of a tree looked at once, without following a link, within bounds that are told when they are met.

use super::classes::{Side, enter, who};
pub use super::found::{Bounds, Entry, Found, Tree};
use super::found::{KEPT, kind, mode, sha, stamp};
use super::{beneath, index, names};
use nix::dir::{Dir, Type};
use nix::sys::stat::FileStat;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Times that are younger than this may stand for two different contents.
const RACY: Duration = Duration::from_secs(2);

/// What a walk needs and gathers.
struct Walk<'a> {
    side: Side,
    bounds: Bounds,
    /// What was found the last time: a file with the same stamp need not be read again.
    known: &'a Tree,
    /// Takes the bytes of a listed file.
    keep: &'a mut dyn FnMut(&str, &[u8]),
    root_path: &'a [u8],
    start: Instant,
    began: i64,
    read: u64,
    found: Found,
    /// The path so far: as bytes, and as lower-case words.
    path: Vec<u8>,
    words: Vec<String>,
}

/// Walks the tree beneath `root`, which is at `root_path`; `keep` gets hash and bytes of each listed file that was read.
pub fn walk(
    side: Side,
    root: &File,
    root_path: &[u8],
    bounds: Bounds,
    known: &Tree,
    keep: &mut dyn FnMut(&str, &[u8]),
) -> Found {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0));
    let start = Instant::now();
    let (read, found, path, words) = (0, Found::default(), Vec::new(), Vec::new());
    let mut walk = Walk { side, bounds, known, keep, root_path, start, began, read, found, path, words };
    // Opened anew: a copy of the descriptor would share its place in the list of names.
    match beneath::open_dir(root, b".") {
        Ok(root) => walk.dir(root),
        Err(e) => walk.found.end(&walk.path, &e.to_string()),
    }
    walk.found
}

impl Walk<'_> {
    /// A directory that is not looked into is listed itself: one that hides something today may show it tomorrow.
    fn closed(&mut self, stat: &FileStat, why: &str) {
        self.insert("dir", stat, "what is in it cannot be looked at".to_owned(), None);
        self.found.gap(&self.path, why);
    }

    /// Whether there is time and room for more.
    fn go_on(&mut self) -> bool {
        if self.found.names >= self.bounds.names {
            self.found.end(&self.path, &format!("more than {} files", self.bounds.names));
            return false;
        }
        if self.found.names.is_multiple_of(64) && self.start.elapsed() > self.bounds.time {
            self.found.end(&self.path, &format!("{} ms were over", self.bounds.time.as_millis()));
            return false;
        }
        true
    }

    fn dir(&mut self, open: File) {
        let Ok(mut dir) = open.try_clone().and_then(|fd| Ok(Dir::from_fd(fd.into())?)) else {
            return self.found.gap(&self.path, "it cannot be read");
        };
        for entry in dir.iter() {
            if !self.go_on() {
                return;
            }
            let Ok(entry) = entry else { return self.found.gap(&self.path, "it cannot be read") };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.found.names += 1;
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            self.words.push(String::from_utf8_lossy(name).to_lowercase());
            self.one(&open, name, entry.file_type());
            self.words.pop();
            self.path.truncate(length);
        }
    }

    /// One name in a directory.
    fn one(&mut self, dir: &File, name: &[u8], kind: Option<Type>) {
        let Ok(stat) = beneath::stat(dir, OsStr::from_bytes(name)) else { return };
        let is_dir = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        if kind == Some(Type::Symlink) || stat.st_mode & libc::S_IFMT == libc::S_IFLNK {
            return self.link(dir, name, &stat);
        }
        let why = who(self.side, &self.words)
            .map(str::to_owned)
            .filter(|_| !is_dir)
            .or_else(|| self.oddity(name, &stat, is_dir));
        if let Some(why) = why {
            self.list(dir, name, &stat, why);
        }
        if self.side == Side::Project && self.words == [".git", "index"] {
            self.git_index(dir, name, &stat);
        }
        if is_dir && enter(self.side, &self.words) {
            match beneath::open_dir(dir, name) {
                Ok(_) if self.words.len() > self.bounds.depth => {
                    self.closed(&stat, &format!("deeper than {} directories", self.bounds.depth))
                }
                Ok(open) => self.dir(open),
                Err(e) => self.closed(&stat, &e.to_string()),
            }
        }
    }

    /// What is wrong with a file by its kind, its mode or its name.
    fn oddity(&self, name: &[u8], stat: &FileStat, is_dir: bool) -> Option<String> {
        let kind = stat.st_mode & libc::S_IFMT;
        let words = if self.side == Side::Project
            && self.words.len() > 1
            && self.words.last().is_some_and(|n| n == ".git")
            && !self.in_git()
        {
            "a repository inside"
        } else if kind == libc::S_IFIFO {
            "a pipe: whoever reads it waits"
        } else if kind == libc::S_IFSOCK {
            "a socket"
        } else if kind == libc::S_IFCHR || kind == libc::S_IFBLK {
            "a device"
        } else if !is_dir && stat.st_mode & 0o6000 != 0 {
            "it runs with its owner's rights"
        } else if names::is_odd(name) {
            "a name with invisible or moving characters"
        } else {
            return None;
        };
        Some(words.to_owned())
    }

    fn in_git(&self) -> bool {
        self.words.first().is_some_and(|first| first == ".git")
    }

    fn link(&mut self, dir: &File, name: &[u8], stat: &FileStat) {
        let Ok(to) = beneath::link(dir, name) else { return };
        let runs = who(self.side, &self.words).map(str::to_owned);
        // A linked directory is as good as a real one, to whoever reads what is in it.
        let mut inside = self.words.clone();
        inside.push("x".to_owned());
        let runs = runs.or_else(|| who(self.side, &inside).map(str::to_owned));
        let leaves = self.side == Side::Project && leaves(&self.path, &to, self.root_path);
        let why = match (runs, leaves) {
            (Some(who), _) => who,
            (None, true) => "a link out of the project".to_owned(),
            (None, false) if names::is_odd(name) => "a name with invisible or moving characters".to_owned(),
            (None, false) => return,
        };
        let sha = sha(&to);
        (self.keep)(&sha, &to);
        self.insert("link", stat, why, Some(sha));
    }

    fn list(&mut self, dir: &File, name: &[u8], stat: &FileStat, why: String) {
        let kind = kind(stat);
        let known = self.known.get(&names::text(&self.path)).filter(|k| k.stamp == stamp(stat) && k.kind == kind);
        let sha = match known.filter(|k| self.is_settled(stat) && k.sha.is_some()) {
            Some(known) => known.sha.clone(),
            None if kind == "file" => self.contents(dir, name, stat),
            None => None,
        };
        self.insert(kind, stat, why, sha);
    }

    /// Whether the file's times are old enough that another change would move them.
    fn is_settled(&self, stat: &FileStat) -> bool {
        self.began - stat.st_ctime > i64::try_from(RACY.as_secs()).unwrap_or(0)
    }

    fn contents(&mut self, dir: &File, name: &[u8], stat: &FileStat) -> Option<String> {
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > KEPT {
            return None;
        }
        if self.read + size > self.bounds.bytes {
            self.found.skip(&self.path, &format!("more than {} MiB to keep", self.bounds.bytes >> 20));
            return None;
        }
        self.read += size;
        let bytes = beneath::read(dir, name, KEPT).ok()??;
        let sha = sha(&bytes);
        (self.keep)(&sha, &bytes);
        Some(sha)
    }

    fn git_index(&mut self, dir: &File, name: &[u8], stat: &FileStat) {
        match beneath::read(dir, name, index::LARGEST) {
            Ok(Some(bytes)) => match index::traps(&bytes) {
                Some(traps) if traps.is_empty() => {}
                Some(traps) => {
                    let all = traps.iter().map(|t| names::text(t)).collect::<Vec<_>>().join("\n");
                    self.insert(
                        "file",
                        stat,
                        "git would write outside: its index names what no index has".to_owned(),
                        Some(sha(all.as_bytes())),
                    );
                }
                None => self.insert("file", stat, "git's index, in a form that cannot be read here".to_owned(), None),
            },
            Ok(None) => self.found.skip(&self.path, "git's index is too large to look at"),
            Err(_) => {}
        }
    }

    fn insert(&mut self, kind: &str, stat: &FileStat, why: String, sha: Option<String>) {
        let entry = Entry { why, kind: kind.to_owned(), mode: mode(stat), sha, stamp: stamp(stat) };
        self.found.tree.insert(names::text(&self.path), entry);
    }
}

/// Whether a link at `path` (from the root) leads out of the tree at `root`, by its words alone.
fn leaves(path: &[u8], to: &[u8], root: &[u8]) -> bool {
    if let Some(rest) = to.strip_prefix(root)
        && (rest.is_empty() || rest.starts_with(b"/"))
    {
        return climbs(0, rest);
    }
    to.starts_with(b"/") || climbs(path.iter().filter(|b| **b == b'/').count(), to)
}

/// Whether `to` climbs above a directory that lies so deep.
fn climbs(depth: usize, to: &[u8]) -> bool {
    let mut depth = depth;
    for part in to.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// Opens the root of a tree for [`walk`].
///
/// # Errors
/// When it is not there, is a link, or cannot be read.
pub fn open(root: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(root)
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
