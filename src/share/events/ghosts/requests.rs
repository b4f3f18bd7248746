//! What becomes of each request of the guest's kernel.

use super::{Ghosts, not_believed};
use crate::share::events::echo::Kind;
use crate::share::events::prepare::look_stamp;
use crate::share::events::server::{Ghost, stamp};
use crate::share::rules::errno;
use std::ffi::CStr;
use std::io;
use std::time::Duration;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SerializableFileSystem, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, SetattrIn};

impl<F: FileSystem<Inode = u64, Handle = u64>> FileSystem for Ghosts<F> {
    type Inode = u64;
    type Handle = u64;
    type DirIter = F::DirIter;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        self.events.iter().for_each(|events| events.unlearn_all());
        self.fs.init(capable)
    }

    fn destroy(&self) {
        self.events.iter().for_each(|events| events.unlearn_all());
        self.fs.destroy();
    }

    fn lookup(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        match self.repeated(ctx) {
            Some(events) => self.haunted(ctx, events, parent, name).map(not_believed),
            None => Ok(self.learn(parent, name, self.fs.lookup(ctx, parent, name)?)),
        }
    }

    fn forget(&self, ctx: Context, inode: u64, count: u64) {
        self.batch_forget(ctx, vec![(inode, count)]);
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(u64, u64)>) {
        let ids: Vec<u64> = requests.iter().map(|(id, _)| *id).collect();
        self.fs.batch_forget(ctx, requests);
        if let Some(events) = &self.events {
            events.unlearn(ids.into_iter(), |id| self.fs.inner().is_known(id));
        }
    }

    fn getattr(&self, ctx: Context, inode: u64, handle: Option<u64>) -> io::Result<(Attr, Duration)> {
        self.attributes(ctx, inode, handle)
    }

    #[rustfmt::skip]
    fn setattr(
        &self, ctx: Context, inode: u64, attr: SetattrIn, handle: Option<u64>, valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        if self.repeated(ctx).is_some() {
            // That is how a change is repeated; it is done already.
            return self.attributes(ctx, inode, None);
        }
        let set = || self.fs.setattr(ctx, inode, attr, handle, valid);
        self.noted(ctx, set, |state, (attr, _)| {
            state.echo.left(self.fs.inner().identity(inode), stamp(attr));
        })
    }

    fn readlink(&self, ctx: Context, inode: u64) -> io::Result<Vec<u8>> {
        self.fs.readlink(ctx, inode)
    }

    fn symlink(&self, ctx: Context, to: &CStr, parent: u64, name: &CStr, more: Extensions) -> io::Result<Entry> {
        self.made(ctx, parent, name, || self.fs.symlink(ctx, to, parent, name, more))
    }

    #[rustfmt::skip]
    fn mknod(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, rdev: u32, umask: u32, more: Extensions,
    ) -> io::Result<Entry> {
        self.made(ctx, parent, name, || self.fs.mknod(ctx, parent, name, mode, rdev, umask, more))
    }

    #[rustfmt::skip]
    fn mkdir(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, umask: u32, more: Extensions,
    ) -> io::Result<Entry> {
        self.made(ctx, parent, name, || self.fs.mkdir(ctx, parent, name, mode, umask, more))
    }

    fn unlink(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.removed(ctx, parent, name, || self.fs.unlink(ctx, parent, name))
    }

    fn rmdir(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.removed(ctx, parent, name, || self.fs.rmdir(ctx, parent, name))
    }

    fn rename(&self, ctx: Context, old: u64, name: &CStr, new: u64, to: &CStr, flags: u32) -> io::Result<()> {
        if let Some(events) = self.repeated(ctx) {
            let mut state = events.state();
            let (Some(Ghost::From(node, ..)), Some(Ghost::To(over))) =
                (state.ghost(old, name).cloned(), state.ghost(new, to).cloned())
            else {
                return Err(errno(libc::EPERM));
            };
            self.fs.inner().moved((old, name), (new, to), node, over);
            state.lay(self.fs.inner(), old, name);
            state.lay(self.fs.inner(), new, to);
            return Ok(());
        }
        let look = |dir, name| self.fs.inner().look(dir, name).and_then(|(_, there)| there);
        let moved = self.events.as_ref().and_then(|_| look(old, name));
        let rename = || self.fs.rename(ctx, old, name, new, to, flags);
        self.noted(ctx, rename, |state, ()| {
            state.did(old, name, Kind::From);
            state.did(new, to, Kind::To);
            if flags & libc::RENAME_EXCHANGE != 0 {
                state.did(new, to, Kind::From);
                state.did(old, name, Kind::To);
            }
            // A renaming changes the inode, and nobody is told of that.
            if let (true, Some(now)) = (moved.is_some_and(|was| state.echo.has_left(was.identity)), look(new, to)) {
                state.echo.left(now.identity, look_stamp(&now));
            }
        })
    }

    fn link(&self, ctx: Context, inode: u64, parent: u64, name: &CStr) -> io::Result<Entry> {
        self.made(ctx, parent, name, || self.fs.link(ctx, inode, parent, name))
    }

    fn open(&self, ctx: Context, inode: u64, kill: bool, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        if self.repeated(ctx).is_some() {
            let write = (libc::O_ACCMODE | libc::O_TRUNC | libc::O_APPEND).cast_unsigned();
            return self.fs.open(ctx, inode, kill, flags & !write);
        }
        let open = || self.fs.open(ctx, inode, kill, flags);
        if flags & libc::O_TRUNC.cast_unsigned() == 0 {
            return open();
        }
        self.noted(ctx, open, |state, _| self.left(ctx, state, inode))
    }

    #[rustfmt::skip]
    fn create(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, kill: bool, flags: u32, umask: u32, more: Extensions,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        let was = self.events.is_some() && self.fs.inner().is_there(parent, name);
        let create = || self.fs.create(ctx, parent, name, mode, kill, flags, umask, more);
        self.noted(ctx, create, |state, (entry, ..)| {
            if !was {
                state.did(parent, name, Kind::Created);
            }
            self.left(ctx, state, entry.inode);
        })
    }

    #[rustfmt::skip]
    fn read<W: ZeroCopyWriter>(
        &self, ctx: Context, inode: u64, handle: u64, to: W, size: u32, at: u64, owner: Option<u64>, flags: u32,
    ) -> io::Result<usize> {
        self.fs.read(ctx, inode, handle, to, size, at, owner, flags)
    }

    #[rustfmt::skip]
    fn write<R: ZeroCopyReader>(
        &self, ctx: Context, inode: u64, handle: u64, from: R, size: u32, at: u64, owner: Option<u64>, delayed: bool,
        kill: bool, flags: u32,
    ) -> io::Result<usize> {
        let write = || self.fs.write(ctx, inode, handle, from, size, at, owner, delayed, kill, flags);
        self.noted(ctx, write, |state, _| self.left(ctx, state, inode))
    }

    fn flush(&self, ctx: Context, inode: u64, handle: u64, owner: u64) -> io::Result<()> {
        self.fs.flush(ctx, inode, handle, owner)
    }

    fn fsync(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.fs.fsync(ctx, inode, datasync, handle)
    }

    fn fallocate(&self, ctx: Context, inode: u64, handle: u64, mode: u32, at: u64, length: u64) -> io::Result<()> {
        if self.repeated(ctx).is_some() {
            // So is a change of contents.
            return Ok(());
        }
        let allocate = || self.fs.fallocate(ctx, inode, handle, mode, at, length);
        self.noted(ctx, allocate, |state, ()| self.left(ctx, state, inode))
    }

    #[rustfmt::skip]
    fn release(
        &self, ctx: Context, inode: u64, flags: u32, handle: u64, flush: bool, unlock: bool, owner: Option<u64>,
    ) -> io::Result<()> {
        self.fs.release(ctx, inode, flags, handle, flush, unlock, owner)
    }

    fn statfs(&self, ctx: Context, inode: u64) -> io::Result<libc::statvfs64> {
        self.fs.statfs(ctx, inode)
    }

    #[rustfmt::skip]
    fn setxattr(
        &self, ctx: Context, inode: u64, name: &CStr, value: &[u8], flags: u32, extra: SetxattrFlags,
    ) -> io::Result<()> {
        let set = || self.fs.setxattr(ctx, inode, name, value, flags, extra);
        self.noted(ctx, set, |state, ()| self.left(ctx, state, inode))
    }

    fn getxattr(&self, ctx: Context, inode: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        self.fs.getxattr(ctx, inode, name, size)
    }

    fn listxattr(&self, ctx: Context, inode: u64, size: u32) -> io::Result<ListxattrReply> {
        self.fs.listxattr(ctx, inode, size)
    }

    fn removexattr(&self, ctx: Context, inode: u64, name: &CStr) -> io::Result<()> {
        let remove = || self.fs.removexattr(ctx, inode, name);
        self.noted(ctx, remove, |state, ()| self.left(ctx, state, inode))
    }

    fn opendir(&self, ctx: Context, inode: u64, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        self.fs.opendir(ctx, inode, flags)
    }

    fn readdir(&self, ctx: Context, inode: u64, handle: u64, size: u32, at: u64) -> io::Result<F::DirIter> {
        self.fs.readdir(ctx, inode, handle, size, at)
    }

    fn fsyncdir(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.fs.fsyncdir(ctx, inode, datasync, handle)
    }

    fn releasedir(&self, ctx: Context, inode: u64, flags: u32, handle: u64) -> io::Result<()> {
        self.fs.releasedir(ctx, inode, flags, handle)
    }

    fn access(&self, ctx: Context, inode: u64, mask: u32) -> io::Result<()> {
        if self.repeated(ctx).is_some() { Ok(()) } else { self.fs.access(ctx, inode, mask) }
    }

    fn lseek(&self, ctx: Context, inode: u64, handle: u64, offset: u64, whence: u32) -> io::Result<u64> {
        self.fs.lseek(ctx, inode, handle, offset, whence)
    }

    #[rustfmt::skip]
    fn copyfilerange(
        &self, ctx: Context, from: u64, from_handle: u64, from_at: u64, to: u64, to_handle: u64, to_at: u64, len: u64,
        flags: u64,
    ) -> io::Result<usize> {
        let copy = || self.fs.copyfilerange(ctx, from, from_handle, from_at, to, to_handle, to_at, len, flags);
        self.noted(ctx, copy, |state, _| self.left(ctx, state, to))
    }

    fn syncfs(&self, ctx: Context, inode: u64) -> io::Result<()> {
        self.fs.syncfs(ctx, inode)
    }
}

// A running share is not moved between hosts, so its state is never written down.
impl<F> SerializableFileSystem for Ghosts<F> {}
