//! From what happened to what the guest repeats of it.
//!
//! All of a list has happened when it is looked at, and the guest repeats it afterwards, one by one. So a directory that was
//! moved is at one place on the host, and for the guest at another one until it comes to that renaming. What happened in it is
//! told by its number, so both places can be told apart.

use super::coalesce::{Change, Key, changes};
use super::echo::Stamp;
use super::server::{Ghost, State};
use super::{Happening, What};
use crate::share::bounded::{Bounded, Look, Places};
use std::collections::HashMap;
use std::ffi::CString;
use virtiofsd::filesystem::FileSystem;
use vmclaude_init::wire::proto::Act;

/// Drops what the guest did itself, and announces the rest.
pub(super) fn prepare<F: FileSystem<Inode = u64, Handle = u64>>(
    state: &mut State,
    fs: &Bounded<F>,
    happened: Vec<Happening>,
) -> Vec<Act> {
    state.begin(fs);
    let mut list = List { state, fs, names: HashMap::new(), places: Places::new(), in_place: HashMap::new() };
    let foreign = happened.into_iter().filter(|happening| !list.is_own(happening)).collect();
    changes(foreign).into_iter().filter_map(|change| list.announce(change)).collect()
}

pub(super) fn look_stamp(look: &Look) -> Stamp {
    Stamp { size: look.size, modified: look.modified, changed: look.changed }
}

/// See the module.
struct List<'a, F> {
    state: &'a mut State,
    fs: &'a Bounded<F>,
    /// What the guest will know by a name when it has repeated what was announced so far, where it is something else now.
    names: HashMap<Key, Option<u64>>,
    /// Where a directory will be then.
    places: Places,
    /// Whether a directory is on the host where the guest takes it to be.
    in_place: HashMap<u64, bool>,
}

impl<F: FileSystem<Inode = u64, Handle = u64>> List<'_, F> {
    fn is_own(&mut self, happening: &Happening) -> bool {
        let Happening { dir, name, what, .. } = happening;
        let key = (*dir, name.clone());
        if self.state.echo.is_of_name(&key, *what) {
            return true;
        }
        if !matches!(what, What::Changed | What::Closed | What::Attributes) {
            return false;
        }
        let there = self.there(&key);
        there.is_some_and(|there| self.state.echo.is_of_file(there.identity, *what, look_stamp(&there)))
    }

    /// What is on the host by this name now.
    fn there(&mut self, (dir, name): &Key) -> Option<Look> {
        let (fs, name) = (self.fs, CString::new(name.clone()).ok()?);
        if *self.in_place.entry(*dir).or_insert_with(|| fs.is_in_place(*dir)) {
            return fs.look(*dir, &name).and_then(|(_, there)| there);
        }
        fs.look_within(*dir, &name)
    }

    /// The file that the guest will know by this name.
    fn named(&self, key: &Key) -> Option<u64> {
        match self.names.get(key) {
            Some(id) => *id,
            None => self.fs.named(key.0, &CString::new(key.1.clone()).ok()?),
        }
    }

    /// Where the guest will find this name.
    fn path(&self, key: &Key) -> Option<Vec<u8>> {
        let name = CString::new(key.1.clone()).ok()?;
        self.fs.path_after(&self.places, key.0, &name).map(CString::into_bytes)
    }

    /// Makes the server ready for the repetition of a change; `None` where there is nothing (any more) to repeat.
    fn announce(&mut self, change: Change) -> Option<Act> {
        match change {
            Change::Create(key) => {
                let (there, path) = (self.there(&key)?, self.path(&key)?);
                self.names.insert(key.clone(), self.fs.known(&there));
                let kind = there.mode & libc::S_IFMT;
                self.state.announce(self.fs, key, Ghost::Create(kind));
                Some(Act::Create(path, kind))
            }
            Change::Write { key, changed, closed } => {
                self.there(&key)?;
                Some(Act::Write { path: self.path(&key)?, changed, closed })
            }
            Change::Attributes(key) => {
                self.there(&key)?;
                self.path(&key).map(Act::Attributes)
            }
            Change::Delete(key, directory) => {
                let path = self.path(&key)?;
                let node = self.named(&key).unwrap_or_else(|| self.phantom(directory));
                self.names.insert(key.clone(), None);
                self.state.announce(self.fs, key, Ghost::Delete(node));
                Some(Act::Delete(path, self.fs.is_directory(node)))
            }
            Change::Rename { from, to, directory } => self.rename(from, to, directory),
        }
    }

    fn rename(&mut self, from: Key, to: Key, directory: bool) -> Option<Act> {
        let (old, new) = (self.path(&from)?, self.path(&to)?);
        let there = self.there(&to).filter(|there| directory == (there.mode & libc::S_IFMT == libc::S_IFDIR));
        let now = there.and_then(|there| self.fs.known(&there));
        let node = match (self.named(&from), now) {
            // The guest may have found it in its new place already. What has another name is not what was moved.
            (None, Some(now)) if self.named(&to) == Some(now) => Some(now),
            (None, None) if there.is_some() => None,
            (None, _) => Some(self.phantom(directory)),
            (known, _) => known,
        };
        let over = self.named(&to).filter(|over| Some(*over) != node && Some(*over) != now);
        self.names.insert(from.clone(), None);
        self.names.insert(to.clone(), node);
        node.into_iter().for_each(|node| drop(self.places.insert(node, to.clone())));
        self.state.announce(self.fs, from, Ghost::From(node, to.clone(), kind(directory)));
        self.state.announce(self.fs, to, Ghost::To(over));
        Some(Act::Rename(old, new))
    }

    /// For a file that the guest never knew.
    fn phantom(&self, directory: bool) -> u64 {
        self.fs.phantom(kind(directory))
    }
}

fn kind(directory: bool) -> u32 {
    if directory { libc::S_IFDIR } else { libc::S_IFREG }
}
