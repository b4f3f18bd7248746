//! The numbers by which the guest knows files, and which of those are open in the file system below.
//!
//! A number is good for as long as the guest refers to it. Behind it there is either a number of the file system below,
//! which costs a descriptor, or the way to get one again: a directory, a name in it, and what has to be found there.

mod way;

use super::known::Identity;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString};
use std::sync::Arc;
use virtiofsd::fuse::ROOT_ID;

/// What has to be forgotten below: a number there, and how many references we have.
pub(super) type Given = (u64, u64);

#[derive(Debug)]
struct Node {
    parent: u64,
    name: Arc<CStr>,
    identity: Identity,
    kind: u32,
    below: Option<Given>,
    /// References of the guest.
    lookups: u64,
    /// Nodes whose parent this is. They need it to be found again.
    children: u64,
    /// What the guest has open of it.
    handles: u64,
    /// Whether it has lost the name that we knew: then it cannot be found again, and stays open.
    nameless: bool,
    /// When it was used last.
    used: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Table {
    nodes: HashMap<u64, Node>,
    names: HashMap<(u64, Arc<CStr>), u64>,
    identities: HashMap<Identity, u64>,
    below: HashMap<u64, u64>,
    /// What may be closed, the least recently used first.
    idle: BTreeMap<u64, u64>,
    clock: u64,
    last: u64,
    handles: usize,
}

impl Table {
    /// Forgets everything but the root.
    pub(super) fn reset(&mut self) {
        let root = Node {
            parent: ROOT_ID,
            name: CString::default().into(),
            identity: Identity::default(),
            kind: libc::S_IFDIR,
            below: Some((ROOT_ID, 1)),
            lookups: 1,
            children: 0,
            handles: 0,
            nameless: true,
            used: 0,
        };
        *self = Table { last: self.last.max(ROOT_ID), ..Table::default() };
        self.nodes.insert(ROOT_ID, root);
        self.below.insert(ROOT_ID, ROOT_ID);
    }

    /// How many descriptors of the file system below are in use on our behalf.
    pub(super) fn open(&self) -> usize {
        self.below.len() + self.handles
    }

    /// How many files the guest may refer to.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The number below of a file that is open.
    pub(super) fn below(&mut self, id: u64) -> Option<u64> {
        let below = self.nodes.get(&id)?.below?.0;
        self.touch(id);
        Some(below)
    }

    /// The file that is open below under this number.
    pub(super) fn of_below(&self, below: u64) -> Option<u64> {
        self.below.get(&below).copied()
    }

    /// The file that the guest was last told to be `name` in `parent`.
    pub(super) fn named(&self, parent: u64, name: &CStr) -> Option<u64> {
        self.names.get(&(parent, name.into())).copied()
    }

    /// The file with this identity.
    pub(super) fn of_identity(&self, identity: &Identity) -> Option<u64> {
        self.identities.get(identity).copied()
    }

    /// The type of `id`, if the guest refers to it.
    pub(super) fn kind(&self, id: u64) -> Option<u32> {
        self.nodes.get(&id).map(|node| node.kind)
    }

    /// One more reference of the guest's.
    pub(super) fn refer(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups = node.lookups.saturating_add(1);
        }
    }

    /// A number for a file that cannot be found.
    pub(super) fn phantom(&mut self, kind: u32) -> u64 {
        self.insert(Identity::default(), kind, None)
    }

    /// The identity of `id`.
    pub(super) fn identity(&self, id: u64) -> Identity {
        self.nodes.get(&id).map(|node| node.identity).unwrap_or_default()
    }

    /// The guest is told that `name` in `parent` is the open file `below`, of which we got one more reference.
    pub(super) fn tell(&mut self, parent: u64, name: &CStr, below: u64, identity: Identity, kind: u32) -> u64 {
        let id = match self.attach(below, identity, kind) {
            Some(id) => id,
            None => self.add(below, identity, kind),
        };
        self.call(id, parent, name);
        self.refer(id);
        self.touch(id);
        id
    }

    /// Keeps one more reference to an open file, if the guest knows it.
    pub(super) fn attach(&mut self, below: u64, identity: Identity, kind: u32) -> Option<u64> {
        let open = self.below.get(&below).copied();
        let id = open.or_else(|| self.identities.get(&identity).copied())?;
        let node = self.nodes.get_mut(&id)?;
        match &mut node.below {
            Some((there, count)) if *there == below => *count += 1,
            // Another file has its number now, or the same one came by another way while this is open.
            Some(_) => return None,
            None if node.kind != kind => return None,
            None => {
                node.below = Some((below, 1));
                self.below.insert(below, id);
            }
        }
        self.touch(id);
        Some(id)
    }

    fn add(&mut self, below: u64, identity: Identity, kind: u32) -> u64 {
        let id = self.insert(identity, kind, Some((below, 1)));
        self.below.insert(below, id);
        self.identities.insert(identity, id);
        id
    }

    fn insert(&mut self, identity: Identity, kind: u32, below: Option<Given>) -> u64 {
        self.last += 1;
        let (parent, name) = (self.last, CString::default().into());
        let (lookups, children, handles, nameless, used) = (0, 0, 0, true, 0);
        let node = Node { parent, name, identity, kind, below, lookups, children, handles, nameless, used };
        self.nodes.insert(self.last, node);
        self.last
    }

    /// From now on `id` is `name` in `parent`; whatever was called so has lost its name.
    pub(super) fn call(&mut self, id: u64, parent: u64, name: &CStr) {
        let name: Arc<CStr> = name.into();
        let Some(node) = self.nodes.get(&id) else { return };
        if !node.nameless && node.parent == parent && node.name == name {
            return;
        }
        self.uncall(id);
        if let Some(other) = self.names.get(&(parent, name.clone())).copied() {
            self.uncall(other);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.parent, node.name, node.nameless) = (parent, name.clone(), false);
        }
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children += 1;
        }
        self.names.insert((parent, name), id);
        self.rank(id);
    }

    /// `id` has lost its name.
    pub(super) fn uncall(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.nameless) else { return };
        node.nameless = true;
        let (parent, name) = (node.parent, node.name.clone());
        self.names.remove(&(parent, name));
        self.rank(id);
        if let Some(parent) = self.nodes.get_mut(&parent) {
            parent.children -= 1;
        }
    }

    /// Whether `id` is known as `name` in `parent`.
    pub(super) fn is_called(&self, id: u64, parent: u64, name: &CStr) -> bool {
        self.nodes.get(&id).is_some_and(|n| !n.nameless && n.parent == parent && *n.name == *name)
    }

    /// The guest gave back references. What is not needed any more is returned, to be forgotten below.
    pub(super) fn forget(&mut self, id: u64, count: u64, given: &mut Vec<Given>) {
        let Some(node) = self.nodes.get_mut(&id).filter(|_| id != ROOT_ID) else { return };
        node.lookups = node.lookups.saturating_sub(count);
        self.drop_unused(id, given);
    }

    /// Removes a node that nobody needs, and then perhaps its parent, and so on.
    fn drop_unused(&mut self, mut id: u64, given: &mut Vec<Given>) {
        while id != ROOT_ID {
            let Some(node) = self.nodes.get(&id) else { return };
            if node.lookups > 0 || node.children > 0 || node.handles > 0 {
                return;
            }
            self.close(id, given);
            let parent = self.nodes.get(&id).filter(|node| !node.nameless).map(|node| node.parent);
            self.uncall(id);
            let Some(node) = self.nodes.remove(&id) else { return };
            if self.identities.get(&node.identity) == Some(&id) {
                self.identities.remove(&node.identity);
            }
            match parent {
                Some(parent) => id = parent,
                None => return,
            }
        }
    }

    /// Closes the least recently used files until no more than `most` descriptors are in use, as far as it can be done.
    pub(super) fn shrink(&mut self, most: usize, given: &mut Vec<Given>) {
        while self.open() > most {
            let Some((_, id)) = self.idle.pop_first() else { return };
            self.close(id, given);
        }
    }

    fn close(&mut self, id: u64, given: &mut Vec<Given>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Some(below) = node.below.take() {
            self.below.remove(&below.0);
            given.push(below);
        }
        let used = node.used;
        self.idle.remove(&used);
    }

    /// The guest opened `id`.
    pub(super) fn opened(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handles += 1;
            self.handles += 1;
            self.rank(id);
        }
    }

    /// The guest closed what it had opened.
    pub(super) fn closed(&mut self, id: u64, given: &mut Vec<Given>) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.handles > 0) {
            node.handles -= 1;
            self.handles -= 1;
            self.rank(id);
            self.drop_unused(id, given);
        }
    }

    fn touch(&mut self, id: u64) {
        self.clock += 1;
        let now = self.clock;
        if let Some(node) = self.nodes.get_mut(&id) {
            self.idle.remove(&node.used);
            node.used = now;
            self.rank(id);
        }
    }

    /// Puts `id` among what may be closed, or takes it out.
    fn rank(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id) else { return };
        if node.below.is_some() && node.handles == 0 && !node.nameless && id != ROOT_ID {
            self.idle.insert(node.used, id);
        } else {
            self.idle.remove(&node.used);
        }
    }
}
