//! What a request has to pass before it goes further.

use super::Guard;
use crate::share::rules;
use std::ffi::{CStr, CString};
use std::io;
use std::time::Duration;
use virtiofsd::filesystem::{Context, Entry, FileSystem};
use virtiofsd::fuse::{Attr, ROOT_ID};

/// For how long a file is what the guest was just told: for one system call. A longer time would show the length of a file
/// that the host has changed meanwhile; without any, each call would have to ask twice.
const BRIEF: Duration = Duration::from_millis(1);

impl<F: FileSystem<Inode = u64, Handle = u64>> Guard<F> {
    /// Allows a change of `inode`: its contents, its attributes, or for a directory its entries.
    pub(super) fn change(&self, inode: u64) -> io::Result<()> {
        if self.nodes.writable(inode) { Ok(()) } else { Err(rules::errno(libc::EROFS)) }
    }

    /// Allows `name` in `parent` to be made.
    pub(super) fn make(&self, parent: u64, name: &CStr) -> io::Result<()> {
        rules::one_component(name)?;
        self.change(parent)?;
        if self.nodes.is_free(parent, name) { Ok(()) } else { Err(rules::errno(libc::EROFS)) }
    }

    /// Allows `name` in `parent` to be made, moved, replaced or removed, by its name and by what it is.
    pub(super) fn take(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.make(parent, name)?;
        if !self.nodes.leads_on(parent) {
            return Ok(());
        }
        // Here lie protected paths, and a file system may know them by names that we do not.
        let Ok(entry) = self.inner.lookup(ctx, parent, name) else { return Ok(()) };
        let stays = self.nodes.stays(entry.inode);
        self.inner.forget(ctx, entry.inode, 1);
        if stays { Err(rules::errno(libc::EROFS)) } else { Ok(()) }
    }

    /// Looks at everything protected that is there, and never forgets it: who finds it under another name gets the same
    /// inode.
    pub(super) fn pin(&self) {
        // The one who asks is of no consequence to lookups.
        let ctx = Context { uid: 0.into(), gid: 0.into(), pid: 0 };
        for path in self.nodes.protected() {
            let mut at = ROOT_ID;
            for name in path {
                let Some(entry) = CString::new(name.clone()).ok().and_then(|name| self.lookup(ctx, at, &name).ok())
                else {
                    break;
                };
                at = entry.inode;
                self.nodes.pin(at);
            }
        }
    }

    /// Allows opening `inode` with these flags of open(2), and says whether that is for changing it.
    pub(super) fn open_flags(&self, inode: u64, flags: u32) -> io::Result<bool> {
        let changes = rules::open_changes(flags)?;
        if changes {
            self.change(inode)?;
        }
        Ok(changes)
    }

    /// The mode that `inode` may be given.
    pub(super) fn mode_for(&self, ctx: Context, inode: u64, mode: u32) -> io::Result<u32> {
        if !rules::asks_for_set_id(mode) {
            return Ok(mode);
        }
        let (now, _) = self.inner.getattr(ctx, inode, None)?;
        Ok(rules::mode(mode, now.mode & libc::S_IFMT == libc::S_IFDIR))
    }

    /// Notes the entry that the guest is about to be told.
    pub(super) fn tell(&self, parent: u64, name: &CStr, mut entry: Entry) -> Entry {
        self.nodes.adopt(parent, name, entry.inode);
        entry.attr_timeout = self.fresh(entry.inode, &entry.attr, entry.attr_timeout);
        entry.entry_timeout = match is_directory(&entry.attr) {
            true => self.fresh(entry.inode, &entry.attr, entry.entry_timeout),
            // Whoever opens it next may mean another file, one that the host put in its place.
            false => Duration::ZERO,
        };
        entry
    }

    /// How long the guest may believe what it is told about `inode`.
    pub(super) fn fresh(&self, inode: u64, attr: &Attr, usual: Duration) -> Duration {
        match self.nodes.coherent(inode) {
            true => Duration::ZERO,
            false if is_directory(attr) => usual,
            false => BRIEF,
        }
    }
}

fn is_directory(attr: &Attr) -> bool {
    attr.mode & libc::S_IFMT == libc::S_IFDIR
}
