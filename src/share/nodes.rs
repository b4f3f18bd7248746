//! What the guard knows about every inode that the guest holds: whether it may be changed, and where it lies as far as
//! protected paths are concerned.
//!
//! The table follows the guest's own references (a lookup adds one, a forget takes some away), so it is as large as the
//! guest's cache. Everything else that depends on where a file lies belongs here too.

use super::places::{Meaning, Place, Places};
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use virtiofsd::fuse::ROOT_ID;

/// What the guest may do with an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// The assembled root: its entries are the tags, and nobody changes those.
    Root,
    /// A file or directory of a tag that is only read, or of a protected path.
    ReadOnly,
    /// A file or directory of a tag that is read and written.
    Writable,
}

struct Node {
    access: Access,
    coherent: bool,
    /// Set for a directory on the way to a protected path.
    place: Option<Place>,
    /// How many references the guest has.
    lookups: u64,
    /// Never forgotten, whatever the guest says.
    pinned: bool,
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
    places: Places,
    held: Mutex<HashMap<u64, Node>>,
}

impl Nodes {
    /// A table that knows the root only.
    pub(super) fn new(tags: BTreeMap<Vec<u8>, Tag>, places: Places) -> Nodes {
        let nodes = Nodes { tags, places, held: Mutex::default() };
        nodes.reset();
        nodes
    }

    /// Forgets everything but the root: the guest mounted anew, or is gone.
    pub(super) fn reset(&self) {
        let mut held = self.lock();
        held.clear();
        let root = Node { access: Access::Root, coherent: false, place: None, lookups: 0, pinned: true };
        held.insert(ROOT_ID, root);
    }

    /// The guest was told that `name` in `parent` is `inode`.
    pub(super) fn adopt(&self, parent: u64, name: &CStr, inode: u64) {
        let mut held = self.lock();
        let (access, coherent, place) = self.seen(held.get(&parent), name.to_bytes());
        let node = held.entry(inode).or_insert(Node { access, coherent, place, lookups: 0, pinned: false });
        // One inode under two names: the stricter one counts, whichever was seen first.
        if access == Access::ReadOnly {
            node.access = access;
        }
        node.place = place.or(node.place);
        node.lookups = node.lookups.saturating_add(1);
    }

    /// What `name` in a directory is.
    fn seen(&self, parent: Option<&Node>, name: &[u8]) -> (Access, bool, Option<Place>) {
        let Some(parent) = parent else { return (Access::ReadOnly, false, None) };
        let coherent = parent.coherent;
        match (parent.access, self.tags.get(name), self.meaning(parent, name)) {
            (Access::Root, Some(tag), _) if tag.writable => (Access::Writable, tag.coherent, self.places.tag(name)),
            (Access::Writable, _, None) => (Access::Writable, coherent, None),
            (Access::Writable, _, Some(Meaning::Way(place))) => (Access::Writable, coherent, Some(place)),
            _ => (Access::ReadOnly, coherent, None),
        }
    }

    fn meaning(&self, parent: &Node, name: &[u8]) -> Option<Meaning> {
        self.places.meaning(parent.place?, name)
    }

    /// Whether `name` in `parent` is not on a protected path: it may be made, and if it is there, moved and removed.
    pub(super) fn is_free(&self, parent: u64, name: &CStr) -> bool {
        self.lock().get(&parent).is_some_and(|node| self.meaning(node, name.to_bytes()).is_none())
    }

    /// Whether `name` in `parent` may be made as a directory: also one that leads to a protected path.
    pub(super) fn is_free_for_directory(&self, parent: u64, name: &CStr) -> bool {
        let held = self.lock();
        let meaning = held.get(&parent).map(|node| self.meaning(node, name.to_bytes()));
        matches!(meaning, Some(None | Some(Meaning::Way(_))))
    }

    /// Whether entries of `parent` lead to protected paths, or are some.
    pub(super) fn leads_on(&self, parent: u64) -> bool {
        self.lock().get(&parent).is_some_and(|node| node.place.is_some())
    }

    /// Whether `inode` is protected or on the way to what is, under whatever name.
    pub(super) fn stays(&self, inode: u64) -> bool {
        self.lock().get(&inode).is_some_and(|node| node.place.is_some() || node.access != Access::Writable)
    }

    /// The protected paths, as names from the root.
    pub(super) fn protected(&self) -> &[Vec<Vec<u8>>] {
        self.places.paths()
    }

    /// Makes one of the guest's references ours, for good.
    pub(super) fn pin(&self, inode: u64) {
        if let Some(node) = self.lock().get_mut(&inode) {
            node.lookups = node.lookups.saturating_sub(1);
            node.pinned = true;
        }
    }

    /// The guest gives back `count` references to `inode`; says how many of them it had.
    pub(super) fn forget(&self, inode: u64, count: u64) -> u64 {
        let mut held = self.lock();
        let Some(node) = held.get_mut(&inode) else { return 0 };
        let count = count.min(node.lookups);
        node.lookups -= count;
        if node.lookups == 0 && !node.pinned {
            held.remove(&inode);
        }
        count
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
        Nodes::new(BTreeMap::from([(b"rw".to_vec(), tag(true)), (b"ro".to_vec(), tag(false))]), Places::default())
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
