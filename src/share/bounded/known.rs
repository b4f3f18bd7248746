//! What the guest knows and what is there, for those who repeat the host's changes in the guest.

use super::{Bounded, Places};
use crate::share::guard::Guard;
use crate::share::rules::errno;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;
use virtiofsd::filesystem::{Context, Entry, FileSystem};
use virtiofsd::fuse::{Attr, ROOT_ID};

/// What a file is, whatever it is called: mount, device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(in crate::share) struct Identity {
    pub(in crate::share) mount: u64,
    pub(in crate::share) dev: u64,
    pub(in crate::share) ino: u64,
}

/// A file of the host's as it is now.
#[derive(Debug, Clone, Copy)]
pub(in crate::share) struct Look {
    pub(in crate::share) identity: Identity,
    pub(in crate::share) mode: u32,
    pub(in crate::share) size: u64,
    pub(in crate::share) modified: (u64, u32),
    pub(in crate::share) changed: (u64, u32),
}

/// What lies at `path` below `root`; links are not followed at its end.
pub(super) fn look(root: &File, path: &CStr) -> Option<Look> {
    // SAFETY: all-zero bytes are a valid statx structure.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (flags, mask) = (libc::AT_SYMLINK_NOFOLLOW, libc::STATX_BASIC_STATS | libc::STATX_MNT_ID);
    // SAFETY: the path is a C string, and the structure outlives the call.
    let rc = unsafe { libc::statx(root.as_raw_fd(), path.as_ptr(), flags, mask, &raw mut stat) };
    let dev = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    let time = |at: libc::statx_timestamp| (at.tv_sec.cast_unsigned(), at.tv_nsec);
    (rc == 0).then_some(Look {
        identity: Identity { mount: stat.stx_mnt_id, dev, ino: stat.stx_ino },
        mode: stat.stx_mode.into(),
        size: stat.stx_size,
        modified: time(stat.stx_mtime),
        changed: time(stat.stx_ctime),
    })
}

/// Whoever asks for himself, and not for a program of the guest.
fn nobody() -> Context {
    Context { uid: 0.into(), gid: 0.into(), pid: 0 }
}

impl<F: FileSystem<Inode = u64, Handle = u64>> Bounded<F> {
    /// The file that the guest was last told to be `name` in `parent`.
    pub(in crate::share) fn named(&self, parent: u64, name: &CStr) -> Option<u64> {
        self.table().named(parent, name)
    }

    /// The guest's number for what is there.
    pub(in crate::share) fn known(&self, there: &Look) -> Option<u64> {
        self.table().of_identity(&there.identity)
    }

    /// What `id` is.
    pub(in crate::share) fn identity(&self, id: u64) -> Identity {
        self.table().identity(id)
    }

    /// Whether the guest refers to `id`.
    pub(in crate::share) fn is_known(&self, id: u64) -> bool {
        self.table().kind(id).is_some()
    }

    /// Whether `id` is a directory.
    pub(in crate::share) fn is_directory(&self, id: u64) -> bool {
        self.table().kind(id) == Some(libc::S_IFDIR)
    }

    /// The path of `name` in `parent`, as far as the guest knows.
    pub(in crate::share) fn path(&self, parent: u64, name: &CStr) -> Option<CString> {
        self.table().path(parent, name)
    }

    /// The same when these directories are in others, by these names.
    pub(in crate::share) fn path_after(&self, moved: &Places, parent: u64, name: &CStr) -> Option<CString> {
        self.table().path_after(moved, parent, name)
    }

    /// Whether the directory `id` is on the host where the guest takes it to be.
    pub(in crate::share) fn is_in_place(&self, id: u64) -> bool {
        if id == ROOT_ID {
            return true;
        }
        let (identity, path) = {
            let table = self.table();
            (table.identity(id), table.path(id, c"."))
        };
        path.and_then(|path| look(&self.root, &path)).is_some_and(|there| there.identity == identity)
    }

    /// What the guest knows as `name` in `parent`, if that is not what is there.
    pub(in crate::share) fn outdated(&self, parent: u64, name: &CStr) -> Option<u64> {
        let known = self.named(parent, name)?;
        let there = match self.is_in_place(parent) {
            true => self.look(parent, name).and_then(|(_, there)| there),
            false => self.look_within(parent, name),
        };
        (there.map(|there| there.identity) != Some(self.identity(known))).then_some(known)
    }

    /// What is `name` in `parent`, wherever that is, if it is open.
    pub(in crate::share) fn look_within(&self, parent: u64, name: &CStr) -> Option<Look> {
        let (below, directory) = {
            let mut table = self.table();
            (table.below(parent)?, table.identity(parent))
        };
        let Entry { inode, attr, .. } = self.inner.lookup(nobody(), below, name).ok()?;
        self.inner.forget(nobody(), inode, 1);
        Some(Look {
            identity: Identity { ino: attr.ino, ..directory },
            mode: attr.mode,
            size: attr.size,
            modified: (attr.mtime, attr.mtimensec),
            changed: (attr.ctime, attr.ctimensec),
        })
    }

    /// That path, and what is there.
    pub(in crate::share) fn look(&self, parent: u64, name: &CStr) -> Option<(CString, Option<Look>)> {
        let path = self.path(parent, name)?;
        let there = look(&self.root, &path);
        Some((path, there))
    }

    /// Whether there is a `name` in `parent`.
    pub(in crate::share) fn is_there(&self, parent: u64, name: &CStr) -> bool {
        self.look(parent, name).is_some_and(|(_, there)| there.is_some())
    }

    /// A file that the guest never knew and that is gone: a number for it, which goes with its last reference.
    pub(in crate::share) fn phantom(&self, kind: u32) -> u64 {
        self.table().phantom(kind)
    }

    /// Keeps `id`, also when the guest forgets it, until it is [`released`](Bounded::release_kept).
    pub(in crate::share) fn keep(&self, id: u64) {
        self.table().refer(id);
    }

    /// `id` is kept no longer: without the guest it is gone.
    pub(in crate::share) fn release_kept(&self, id: u64) {
        let mut given = Vec::new();
        self.table().forget(id, 1, &mut given);
        self.give(nobody(), given);
    }

    /// The guest is told that `node` has no longer the name `name` in `parent`.
    pub(in crate::share) fn lose(&self, parent: u64, name: &CStr, node: u64) {
        let mut table = self.table();
        if table.is_called(node, parent, name) {
            table.uncall(node);
        }
    }

    /// The guest is told that what had the name `from` has the name `to`.
    pub(in crate::share) fn moved(&self, from: (u64, &CStr), to: (u64, &CStr), node: Option<u64>, over: Option<u64>) {
        if let Some(over) = over {
            self.lose(to.0, to.1, over);
        }
        let mut table = self.table();
        if let Some(node) = node.or_else(|| table.named(from.0, from.1)) {
            table.call(node, to.0, to.1);
        }
    }

    /// A file as the guest knew it, whatever became of it.
    fn recall(&self, ctx: Context, id: u64) -> io::Result<Entry> {
        let (below, kind) = {
            let mut table = self.table();
            (table.below(id), table.kind(id).ok_or_else(|| errno(libc::ENOENT))?)
        };
        let mut attr = match below {
            Some(below) => self.inner.getattr(ctx, below, None)?.0,
            None => Attr { ino: self.table().identity(id).ino, mode: kind | 0o755, blksize: 4096, ..Attr::default() },
        };
        attr.nlink += 1; // What is about to be removed must have been there.
        self.table().refer(id);
        Ok(Entry { inode: id, generation: 0, attr, attr_timeout: Duration::ZERO, entry_timeout: Duration::ZERO })
    }
}

impl<F: FileSystem<Inode = u64, Handle = u64>> Guard<Bounded<F>> {
    /// Tells the guest that `name` in `parent` is `id`, as it was.
    pub(in crate::share) fn recall(&self, ctx: Context, parent: u64, name: &CStr, id: u64) -> io::Result<Entry> {
        let entry = self.inner().recall(ctx, id)?;
        self.adopt(parent, name, id);
        Ok(entry)
    }
}
