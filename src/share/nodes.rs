//! What the guard knows about every inode that the guest holds: today, whether it may be changed.
//!
//! The table follows the guest's own references (a lookup adds one, a forget takes some away), so it is as large as the
//! guest's cache. Everything else that depends on where a file lies belongs here too.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use virtiofsd::fuse::ROOT_ID;

/// What the guest may do with an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The assembled root: its entries are the tags, and nobody changes those.
    Root,
    /// A file or directory of a tag that is only read.
    ReadOnly,
    /// A file or directory of a tag that is read and written.
    Writable,
}

struct Node {
    access: Access,
    coherent: bool,
    lookups: u64,
}

/// What a directory of the share is for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Whether it is read and written.
    pub(super) writable: bool,
    /// Whether other machines change it, so that the guest must ask every time.
    pub(super) coherent: bool,
}

/// The inodes that the guest holds, by the number that the file system gave it.
pub(super) struct Nodes {
    /// The tags by their names.
    tags: BTreeMap<Vec<u8>, Tag>,
    held: Mutex<HashMap<u64, Node>>,
}

impl Nodes {
    /// A table that knows the root only.
    pub(super) fn new(tags: BTreeMap<Vec<u8>, Tag>) -> Nodes {
        let nodes = Nodes { tags, held: Mutex::default() };
        nodes.reset();
        nodes
    }

    /// Forgets everything but the root: the guest mounted anew, or is gone.
    pub(super) fn reset(&self) {
        let mut held = self.lock();
        held.clear();
        held.insert(ROOT_ID, Node { access: Access::Root, coherent: false, lookups: 1 });
    }

    /// The guest was told that `name` in `parent` is `inode`.
    pub(super) fn adopt(&self, parent: u64, name: &CStr, inode: u64) {
        let mut held = self.lock();
        let parent = held.get(&parent).map(|node| (node.access, node.coherent));
        let (access, coherent) = match (parent, self.tags.get(name.to_bytes())) {
            (Some((Access::Root, _)), Some(tag)) if tag.writable => (Access::Writable, tag.coherent),
            (Some((Access::Writable, coherent)), _) => (Access::Writable, coherent),
            (parent, _) => (Access::ReadOnly, parent.is_some_and(|(_, coherent)| coherent)),
        };
        let node = held.entry(inode).or_insert(Node { access, coherent, lookups: 0 });
        // One inode under two names: the stricter one counts, whichever was seen first.
        if access == Access::ReadOnly {
            node.access = access;
        }
        node.lookups = node.lookups.saturating_add(1);
    }

    /// The guest gave back `count` references to `inode`.
    pub(super) fn forget(&self, inode: u64, count: u64) {
        let mut held = self.lock();
        let Some(node) = held.get_mut(&inode).filter(|_| inode != ROOT_ID) else { return };
        node.lookups = node.lookups.saturating_sub(count);
        if node.lookups == 0 {
            held.remove(&inode);
        }
    }

    /// Whether the guest may change `inode`. One that it does not hold, it may not.
    pub(super) fn writable(&self, inode: u64) -> bool {
        self.lock().get(&inode).is_some_and(|node| node.access == Access::Writable)
    }

    /// Whether the guest must ask for `inode` every time.
    pub(super) fn coherent(&self, inode: u64) -> bool {
        self.lock().get(&inode).is_some_and(|node| node.coherent)
    }

    /// A panic in another thread leaves the table whole: every change above is one step.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Node>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        let tag = |writable| Tag { writable, coherent: writable };
        Nodes::new(BTreeMap::from([(b"rw".to_vec(), tag(true)), (b"ro".to_vec(), tag(false))]))
    }

    #[test]
    fn access_comes_from_the_tag_and_goes_down_the_tree() {
        let nodes = nodes();
        nodes.adopt(ROOT_ID, c"rw", 2);
        nodes.adopt(ROOT_ID, c"ro", 3);
        nodes.adopt(ROOT_ID, c"neither", 4);
        nodes.adopt(2, c"sub", 5);
        nodes.adopt(3, c"sub", 6);
        let writable: Vec<u64> = (0..8).filter(|inode| nodes.writable(*inode)).collect();
        assert_eq!(writable, [2, 5]);
        assert!((0..8).all(|inode| nodes.coherent(inode) == nodes.writable(inode)), "so here is the other property");
    }

    #[test]
    fn a_file_in_both_kinds_of_tag_is_read_only_in_either_order() {
        for (first, second) in [(c"rw", c"ro"), (c"ro", c"rw")] {
            let nodes = nodes();
            nodes.adopt(ROOT_ID, first, 2);
            nodes.adopt(ROOT_ID, second, 3);
            nodes.adopt(2, c"linked", 9);
            nodes.adopt(3, c"linked", 9);
            assert!(!nodes.writable(9), "{first:?} then {second:?}");
        }
    }

    #[test]
    fn the_table_is_as_large_as_what_the_guest_holds() {
        let nodes = nodes();
        nodes.adopt(ROOT_ID, c"rw", 2);
        nodes.adopt(ROOT_ID, c"rw", 2);
        nodes.forget(2, 1);
        assert!(nodes.writable(2), "one reference is left");
        nodes.forget(2, 7);
        nodes.forget(ROOT_ID, 9);
        assert_eq!(nodes.lock().len(), 1, "only the root is left, and the root stays");
        assert!(!nodes.writable(2));
    }
}
