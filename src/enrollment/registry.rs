//! Changing the registry: pure functions from entries to entries. The format is the shim crate's.

use std::path::{Path, PathBuf};
use vmclaude_shim::Identity;
use vmclaude_shim::registry::Entry;

/// What enrolling a directory changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It was enrolled already.
    Same,
    /// Another directory was enrolled at this path: this entry gave way.
    Replaced(Entry),
    /// It was enrolled at this path, which is no longer there.
    Moved(PathBuf),
}

/// Adds a directory. `is_gone` tells whether an enrolled path has nothing at it any more: only then does a move forget it,
/// because a new directory at the old path is not to run on the host unasked.
pub fn add(entries: &mut Vec<Entry>, path: &Path, identity: Identity, is_gone: impl Fn(&Path) -> bool) -> Change {
    if let Some(known) = entries.iter_mut().find(|e| e.path == path) {
        let is_same = identity.same_as(&known.identity);
        let old = std::mem::replace(known, Entry { identity, path: path.to_path_buf() });
        return if is_same { Change::Same } else { Change::Replaced(old) };
    }
    let moved = |e: &Entry| e.identity == identity && identity.is_distinctive() && is_gone(&e.path);
    let change = match entries.iter().position(moved) {
        Some(at) => Change::Moved(entries.swap_remove(at).path),
        None => Change::Added,
    };
    entries.push(Entry { identity, path: path.to_path_buf() });
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    change
}

/// Keeps a directory whose path was enrolled anew where it is now; whether it had not been kept already.
pub fn keep(entries: &mut Vec<Entry>, old: &Entry, now: &Path) -> bool {
    let is_new = !is_kept(entries, old) && entries.iter().all(|e| e.path != now);
    if is_new {
        entries.push(Entry { identity: old.identity, path: now.to_path_buf() });
        entries.sort_by(|a, b| a.path.cmp(&b.path));
    }
    is_new
}

/// Whether this very directory is enrolled, wherever.
pub fn is_kept(entries: &[Entry], old: &Entry) -> bool {
    old.identity.is_distinctive() && entries.iter().any(|e| e.identity == old.identity)
}

/// Removes the directory at `path`, or this very directory wherever it was enrolled; what was removed.
pub fn remove(entries: &mut Vec<Entry>, path: &Path, identity: Option<Identity>) -> Vec<Entry> {
    let is_meant = |e: &Entry| e.path == path || identity.is_some_and(|id| id.is_distinctive() && id == e.identity);
    let (gone, kept): (Vec<Entry>, Vec<Entry>) = std::mem::take(entries).into_iter().partition(is_meant);
    *entries = kept;
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ino: u64) -> Identity {
        Identity { fs: 1, ino, birth: ino }
    }

    #[test]
    fn enrolling_tells_new_known_replaced_and_moved_apart() {
        let mut all = Vec::new();
        let (here, gone) = (|_: &Path| false, |_: &Path| true);
        assert_eq!(add(&mut all, Path::new("/b"), id(1), here), Change::Added);
        assert_eq!(add(&mut all, Path::new("/a"), id(2), here), Change::Added);
        assert_eq!(add(&mut all, Path::new("/b"), id(1), here), Change::Same);
        let old = Entry { identity: id(1), path: "/b".into() };
        assert_eq!(add(&mut all, Path::new("/b"), id(3), here), Change::Replaced(old.clone()));
        assert!(keep(&mut all, &old, Path::new("/b-old")) && !keep(&mut all, &old, Path::new("/b-older")));
        assert!(!keep(&mut all, &Entry { identity: id(9), path: "/x".into() }, Path::new("/a")), "that is another one");
        assert_eq!(add(&mut all, Path::new("/c"), id(3), gone), Change::Moved("/b".into()));
        assert_eq!(add(&mut all, Path::new("/d"), id(3), here), Change::Added, "the old path has something at it");
        assert_eq!(all.iter().map(|e| e.path.to_str().unwrap()).collect::<Vec<_>>(), ["/a", "/b-old", "/c", "/d"]);
    }

    #[test]
    fn unenrolling_takes_the_path_and_the_directory() {
        let mut all = Vec::new();
        add(&mut all, Path::new("/a"), id(1), |_| false);
        add(&mut all, Path::new("/ab"), id(2), |_| false);
        let entry = |ino, path: &str| Entry { identity: id(ino), path: path.into() };
        assert_eq!(remove(&mut all, Path::new("/moved"), Some(id(2))), [entry(2, "/ab")]);
        assert_eq!(remove(&mut all, Path::new("/a"), None), [entry(1, "/a")]);
        assert!(remove(&mut all, Path::new("/a"), None).is_empty());
    }
}
