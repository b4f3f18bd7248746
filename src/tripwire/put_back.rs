//! After the guest is gone, what is protected is made again what it was. Nothing is lost by that: what was there is kept for a review,
//! and what cannot be kept is moved aside.

use super::change::{Change, between};
use super::checked::{Checked, Protected, is_at_or_below};
use super::classes::Side;
use super::store::Store;
use super::walk::Entry;
use super::{beneath, names, restore};
use crate::error::{Context, Failure, Result};
use crate::plan::folded::is_within;
use std::fs::File;

/// Something that was put back, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutBack {
    /// What it was before, and when the session was over.
    pub change: Change,
    /// Why it is not as before.
    pub failed: Option<Failure>,
    /// Its new path, where it was moved out of the way.
    pub aside: Option<String>,
    /// Whether the session was killed: then what came after it counts as well.
    pub lost: bool,
}

/// Who puts back.
pub(super) struct Hand<'a> {
    pub(super) store: &'a Store,
    pub(super) project: &'a File,
    pub(super) git: Option<&'a File>,
    pub(super) lost: bool,
}

/// What differs at and below the protected paths, as far as it was seen both times.
pub(super) fn differs(before: &Checked, after: &Checked) -> Vec<Change> {
    let mut all = Vec::new();
    for side in [Side::Project, Side::Git] {
        let (Some(before), Some(after)) = (before.of(side), after.of(side)) else { continue };
        let mut changes = between(side, &before.tree, &after.tree);
        changes.retain(|change| change.before.is_some() || !before.may_have_missed(&change.path));
        changes.retain(|change| change.after.is_some() || !after.may_have_missed(&change.path));
        // An empty directory that is gone is missed by nobody; of one that was full, each file is a change.
        changes.retain(|c| !(c.after.is_none() && c.before.as_ref().is_some_and(|entry| entry.kind == "dir")));
        all.extend(changes);
    }
    all
}

/// Whether a change lies at or below a protected path, by exactly that name.
pub(super) fn is_named(protected: &Protected, change: &Change) -> bool {
    protected.of(change.side).iter().any(|p| is_at_or_below(&change.path, p))
}

impl Hand<'_> {
    fn root(&self, side: Side) -> Result<&File> {
        match side {
            Side::Project => Some(self.project),
            Side::Git => self.git,
            Side::Home => None,
        }
        .ok_or_else(|| Failure::new("its directory is not there"))
    }

    /// Moves directories out of the way whose contents cannot be put back one by one: where none was, and where more is in it than
    /// is looked at. (`before` says how it was.)
    pub(super) fn clear(&self, before: &Checked, after: &Checked) -> Vec<PutBack> {
        let mut done = Vec::new();
        for side in [Side::Project, Side::Git] {
            let (Some(was), Some(is)) = (before.of(side), after.of(side)) else { continue };
            let is_dir = |entry: Option<&Entry>| entry.is_some_and(|entry| entry.kind == "dir");
            for path in before.protected.of(side) {
                let crowded = is.gaps.contains(path) && !was.gaps.contains(path);
                if is_dir(is.tree.get(path)) && (crowded || !is_dir(was.tree.get(path))) {
                    let (before, after) = (was.tree.get(path).cloned(), is.tree.get(path).cloned());
                    let change = Change { side, path: path.clone(), before, after, put_back: true };
                    done.push(self.told(&change, self.aside(&change)));
                }
            }
        }
        done
    }

    /// As [`put_back`](Hand::put_back), after a look at what is there; of what is in a directory that was moved as a whole, only
    /// failures are told.
    pub(super) fn put_back_named(&self, before: &Checked, after: &Checked, moved: &[PutBack]) -> Vec<PutBack> {
        let mut all = self.put_back(differs(before, after));
        let is_in = |put: &PutBack, moved: &PutBack| {
            put.change.side == moved.change.side && is_at_or_below(&put.change.path, &moved.change.path)
        };
        all.retain(|put| {
            put.failed.is_some() || !moved.iter().any(|moved| moved.failed.is_none() && is_in(put, moved))
        });
        all
    }

    /// Puts these back. What was not there goes first: where two spellings are one file, that was it.
    pub(super) fn put_back(&self, changes: Vec<Change>) -> Vec<PutBack> {
        let (gone, rest): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(|c| c.before.is_none());
        gone.iter().chain(&rest).map(|change| self.told(change, self.one(change))).collect()
    }

    fn told(&self, change: &Change, done: Result<Option<String>>) -> PutBack {
        let change = Change { put_back: true, ..change.clone() };
        let (failed, aside) = match done {
            Ok(aside) => (None, aside),
            Err(failed) => (Some(failed), None),
        };
        PutBack { change, failed, aside, lost: self.lost }
    }

    /// Answers where something was moved to.
    fn one(&self, change: &Change) -> Result<Option<String>> {
        let root = self.root(change.side)?;
        let before = change.before.as_ref().filter(|entry| entry.kind != "dir");
        if before.is_some_and(|entry| self.store.kept(entry).is_none()) {
            return restore(self.store, root, change).map(|()| None);
        }
        let path = names::bytes(&change.path).unwrap_or_default();
        let is_kept = |after: &Entry| after.kind != "file" || self.store.kept(after).is_some();
        let aside = match &change.after {
            _ if beneath::is_dir_at(root, &path) => self.aside(change)?,
            Some(after) if !is_kept(after) => self.aside(change)?,
            Some(_) if before.is_none() => {
                beneath::remove(root, &path).what(|| format!("cannot remove {}", change.path))?;
                None
            }
            _ => None,
        };
        match before {
            Some(_) => restore(self.store, root, change).map(|()| aside),
            None => Ok(aside),
        }
    }

    fn aside(&self, change: &Change) -> Result<Option<String>> {
        let what = || format!("cannot move {} out of the way", change.path);
        let path = names::bytes(&change.path).ok_or_else(|| Failure::new(what()))?;
        beneath::aside(self.root(change.side)?, &path).map(|to| Some(names::text(&to))).what(what)
    }

    /// What is new below a protected path in another spelling. Where the file system finds it by the protected name too, it is not
    /// another file, and was looked at by that name.
    pub(super) fn respelt(&self, protected: &Protected, changes: &[Change]) -> Vec<Change> {
        let is_other = |change: &&Change| {
            let path = names::bytes(&change.path).unwrap_or_default();
            let within = protected.of(change.side).iter().filter_map(|p| names::bytes(p)).find(|p| is_within(&path, p));
            let ino = |path: &[u8]| beneath::inode_at(self.root(change.side).ok()?, path).ok();
            within.is_some_and(|within| {
                change.before.is_none() && !is_named(protected, change) && ino(&path) != ino(&respell(&path, &within))
            })
        };
        changes.iter().filter(is_other).cloned().collect()
    }
}

/// `path`, which lies within `protected` by folded names, in that one's spelling.
fn respell(path: &[u8], protected: &[u8]) -> Vec<u8> {
    let length = protected.split(|b| *b == b'/').filter(|name| !name.is_empty()).count();
    let rest = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).skip(length);
    rest.fold(protected.to_vec(), |path, name| [&path, &b"/"[..], name].concat())
}
