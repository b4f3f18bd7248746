//! A file system that keeps a bounded number of files of another one open, however many the guest knows.
//!
//! The one below holds a descriptor for everything that the guest remembers, and a user may have a few thousand. So the
//! guest gets numbers of ours, and what it has not used for longest is forgotten below. When it is used again, it is looked
//! up again where it was, and must be what it was: same mount, device, inode and kind; if not, the guest's kernel is told
//! that its knowledge is stale, and it walks the path anew. What has no name any more, or is open, is never closed.
//!
//! There is one worker, so a request is never in the middle of another one. The files of a request are the most recently
//! used ones, and the limit is larger than a request.

mod known;
mod requests;
mod table;

#[cfg(test)]
mod tests;

use super::rules::errno;
use known::look;
pub(super) use known::{Identity, Look};
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use table::{Given, Table};
use virtiofsd::filesystem::{Context, Entry, FileSystem, SerializableFileSystem};

/// Where directories are: in which one, and by what name.
pub(super) type Places = HashMap<u64, (u64, Vec<u8>)>;

/// See the module.
pub(super) struct Bounded<F> {
    inner: F,
    /// The root of the share, to ask for what the file system below does not tell.
    root: File,
    most: usize,
    table: Mutex<Table>,
}

// A running share is not moved between hosts, so its state is never written down.
impl<F> SerializableFileSystem for Bounded<F> {}

impl<F: FileSystem<Inode = u64, Handle = u64>> Bounded<F> {
    /// Keeps at most `most` files of `inner` open, whose root is also `root`.
    pub(super) fn new(inner: F, root: File, most: usize) -> Bounded<F> {
        let bounded = Bounded { inner, root, most, table: Mutex::default() };
        bounded.table().reset();
        bounded
    }

    /// A panic in another thread leaves the table as good as any crash would.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number below of a file of the guest's, which is opened again where it has to be.
    fn at(&self, ctx: Context, id: u64) -> io::Result<u64> {
        if let Some(below) = self.table().below(id) {
            return Ok(below);
        }
        let steps = self.table().way(id).ok_or_else(|| errno(libc::ESTALE))?;
        let mut found = Err(errno(libc::ESTALE));
        for step in steps {
            let parent = self.table().below(step.parent).ok_or_else(|| errno(libc::ESTALE))?;
            let entry = self.inner.lookup(ctx, parent, &step.name).map_err(|e| match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => errno(libc::ESTALE),
                _ => e,
            })?;
            let identity = self.identify(step.parent, &step.name, &entry);
            let same = (identity, entry.attr.mode & libc::S_IFMT) == (step.identity, step.kind);
            let attached = same && self.table().attach(entry.inode, identity, step.kind) == Some(step.id);
            if !attached {
                self.inner.forget(ctx, entry.inode, 1);
                return Err(errno(libc::ESTALE));
            }
            found = Ok(entry.inode);
            self.shrink(ctx, 0);
        }
        found
    }

    /// What an entry is. The file system below knows and does not say, so it is asked for by its path; should that lead
    /// elsewhere by now, the entry is taken for one of its directory's file system, as nearly all are.
    fn identify(&self, parent: u64, name: &CStr, entry: &Entry) -> Identity {
        let (directory, path) = {
            let table = self.table();
            (table.identity(parent), table.path(parent, name))
        };
        match path.and_then(|path| look(&self.root, &path)) {
            Some(there) if there.identity.ino == entry.attr.ino => there.identity,
            _ => Identity { ino: entry.attr.ino, ..directory },
        }
    }

    /// Gives the guest its number for an entry.
    fn tell(&self, ctx: Context, parent: u64, name: &CStr, mut entry: Entry) -> Entry {
        let known = {
            let table = self.table();
            table.of_below(entry.inode).map(|id| table.identity(id))
        };
        let identity = known.unwrap_or_else(|| self.identify(parent, name, &entry));
        entry.inode = self.table().tell(parent, name, entry.inode, identity, entry.attr.mode & libc::S_IFMT);
        self.shrink(ctx, 0);
        entry
    }

    /// Closes what was not used for longest, until there is room for `more` descriptors.
    fn shrink(&self, ctx: Context, more: usize) {
        let mut given = Vec::new();
        self.table().shrink(self.most.saturating_sub(more), &mut given);
        self.give(ctx, given);
    }

    fn give(&self, ctx: Context, given: Vec<Given>) {
        if !given.is_empty() {
            self.inner.batch_forget(ctx, given);
        }
    }

    /// The file of the guest's that is `name` in `parent`, open and with its number below, if it has one: about to lose
    /// that name.
    fn holding(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<Option<u64>> {
        let below = self.at(ctx, parent)?;
        let Ok(entry) = self.inner.lookup(ctx, below, name) else { return Ok(None) };
        let open = self.table().of_below(entry.inode);
        let identity = match open {
            Some(id) => self.table().identity(id),
            None => self.identify(parent, name, &entry),
        };
        let id = self.table().attach(entry.inode, identity, entry.attr.mode & libc::S_IFMT);
        if id.is_none() {
            self.inner.forget(ctx, entry.inode, 1);
        }
        Ok(id)
    }

    /// `name` in `parent` is gone, and was `was`.
    fn removed(&self, parent: u64, name: &CStr, was: Option<u64>) {
        let mut table = self.table();
        for id in was.into_iter().chain(table.named(parent, name)) {
            if table.is_called(id, parent, name) {
                table.uncall(id);
            }
        }
    }

    fn opened(&self, id: u64, handle: Option<u64>) {
        if handle.is_some() {
            self.table().opened(id);
        }
    }

    fn closed(&self, ctx: Context, id: u64) {
        let mut given = Vec::new();
        self.table().closed(id, &mut given);
        self.give(ctx, given);
    }
}
