//! The guest's requests with the numbers of the file system below.

use super::Bounded;
use std::ffi::CStr;
use std::io;
use std::time::Duration;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions, SetattrValid,
    SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, SetattrIn};

impl<F: FileSystem<Inode = u64, Handle = u64>> FileSystem for Bounded<F> {
    type Inode = u64;
    type Handle = u64;
    type DirIter = F::DirIter;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        self.table().reset();
        self.inner.init(capable)
    }

    fn destroy(&self) {
        self.table().reset();
        self.inner.destroy();
    }

    fn lookup(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        let entry = self.inner.lookup(ctx, self.at(ctx, parent)?, name)?;
        Ok(self.tell(ctx, parent, name, entry))
    }

    fn forget(&self, ctx: Context, id: u64, count: u64) {
        self.batch_forget(ctx, vec![(id, count)]);
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(u64, u64)>) {
        let mut given = Vec::new();
        {
            let mut table = self.table();
            requests.into_iter().for_each(|(id, count)| table.forget(id, count, &mut given));
        }
        self.give(ctx, given);
    }

    fn getattr(&self, ctx: Context, id: u64, handle: Option<u64>) -> io::Result<(Attr, Duration)> {
        self.inner.getattr(ctx, self.at(ctx, id)?, handle)
    }

    #[rustfmt::skip]
    fn setattr(
        &self, ctx: Context, id: u64, attr: SetattrIn, handle: Option<u64>, valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        self.inner.setattr(ctx, self.at(ctx, id)?, attr, handle, valid)
    }

    fn readlink(&self, ctx: Context, id: u64) -> io::Result<Vec<u8>> {
        self.inner.readlink(ctx, self.at(ctx, id)?)
    }

    fn symlink(&self, ctx: Context, to: &CStr, parent: u64, name: &CStr, more: Extensions) -> io::Result<Entry> {
        let entry = self.inner.symlink(ctx, to, self.at(ctx, parent)?, name, more)?;
        Ok(self.tell(ctx, parent, name, entry))
    }

    #[rustfmt::skip]
    fn mknod(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, rdev: u32, umask: u32, more: Extensions,
    ) -> io::Result<Entry> {
        let entry = self.inner.mknod(ctx, self.at(ctx, parent)?, name, mode, rdev, umask, more)?;
        Ok(self.tell(ctx, parent, name, entry))
    }

    #[rustfmt::skip]
    fn mkdir(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, umask: u32, more: Extensions,
    ) -> io::Result<Entry> {
        let entry = self.inner.mkdir(ctx, self.at(ctx, parent)?, name, mode, umask, more)?;
        Ok(self.tell(ctx, parent, name, entry))
    }

    fn unlink(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let was = self.holding(ctx, parent, name)?;
        self.inner.unlink(ctx, self.at(ctx, parent)?, name)?;
        self.removed(parent, name, was);
        Ok(())
    }

    fn rmdir(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        let was = self.holding(ctx, parent, name)?;
        self.inner.rmdir(ctx, self.at(ctx, parent)?, name)?;
        self.removed(parent, name, was);
        Ok(())
    }

    fn rename(&self, ctx: Context, old: u64, name: &CStr, new: u64, to: &CStr, flags: u32) -> io::Result<()> {
        let (from, over) = (self.holding(ctx, old, name)?, self.holding(ctx, new, to)?);
        let (at_old, at_new) = (self.at(ctx, old)?, self.at(ctx, new)?);
        self.inner.rename(ctx, at_old, name, at_new, to, flags)?;
        if from.is_some() && from == over {
            return Ok(()); // Two names of one file: both stay.
        }
        self.removed(old, name, from);
        self.removed(new, to, over);
        let mut table = self.table();
        if let Some(id) = from {
            table.call(id, new, to);
        }
        if let Some(id) = over.filter(|_| flags & libc::RENAME_EXCHANGE != 0) {
            table.call(id, old, name);
        }
        Ok(())
    }

    fn link(&self, ctx: Context, id: u64, parent: u64, name: &CStr) -> io::Result<Entry> {
        let (file, dir) = (self.at(ctx, id)?, self.at(ctx, parent)?);
        let entry = self.inner.link(ctx, file, dir, name)?;
        Ok(self.tell(ctx, parent, name, entry))
    }

    fn open(&self, ctx: Context, id: u64, kill: bool, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        self.shrink(ctx, 1);
        let opened = self.inner.open(ctx, self.at(ctx, id)?, kill, flags)?;
        self.opened(id, opened.0);
        Ok(opened)
    }

    #[rustfmt::skip]
    fn create(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, kill: bool, flags: u32, umask: u32, more: Extensions,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        self.shrink(ctx, 2);
        let dir = self.at(ctx, parent)?;
        let (entry, handle, options) = self.inner.create(ctx, dir, name, mode, kill, flags, umask, more)?;
        let entry = self.tell(ctx, parent, name, entry);
        self.opened(entry.inode, handle);
        Ok((entry, handle, options))
    }

    #[rustfmt::skip]
    fn read<W: ZeroCopyWriter>(
        &self, ctx: Context, id: u64, handle: u64, to: W, size: u32, at: u64, owner: Option<u64>, flags: u32,
    ) -> io::Result<usize> {
        self.inner.read(ctx, self.at(ctx, id)?, handle, to, size, at, owner, flags)
    }

    #[rustfmt::skip]
    fn write<R: ZeroCopyReader>(
        &self, ctx: Context, id: u64, handle: u64, from: R, size: u32, at: u64, owner: Option<u64>, delayed: bool,
        kill: bool, flags: u32,
    ) -> io::Result<usize> {
        self.inner.write(ctx, self.at(ctx, id)?, handle, from, size, at, owner, delayed, kill, flags)
    }

    fn flush(&self, ctx: Context, id: u64, handle: u64, owner: u64) -> io::Result<()> {
        self.inner.flush(ctx, self.at(ctx, id)?, handle, owner)
    }

    fn fsync(&self, ctx: Context, id: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.inner.fsync(ctx, self.at(ctx, id)?, datasync, handle)
    }

    fn fallocate(&self, ctx: Context, id: u64, handle: u64, mode: u32, at: u64, length: u64) -> io::Result<()> {
        self.inner.fallocate(ctx, self.at(ctx, id)?, handle, mode, at, length)
    }

    #[rustfmt::skip]
    fn release(
        &self, ctx: Context, id: u64, flags: u32, handle: u64, flush: bool, unlock: bool, owner: Option<u64>,
    ) -> io::Result<()> {
        self.inner.release(ctx, self.at(ctx, id)?, flags, handle, flush, unlock, owner)?;
        self.closed(ctx, id);
        Ok(())
    }

    fn statfs(&self, ctx: Context, id: u64) -> io::Result<libc::statvfs64> {
        self.inner.statfs(ctx, self.at(ctx, id)?)
    }

    #[rustfmt::skip]
    fn setxattr(
        &self, ctx: Context, id: u64, name: &CStr, value: &[u8], flags: u32, extra: SetxattrFlags,
    ) -> io::Result<()> {
        self.inner.setxattr(ctx, self.at(ctx, id)?, name, value, flags, extra)
    }

    fn getxattr(&self, ctx: Context, id: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        self.inner.getxattr(ctx, self.at(ctx, id)?, name, size)
    }

    fn listxattr(&self, ctx: Context, id: u64, size: u32) -> io::Result<ListxattrReply> {
        self.inner.listxattr(ctx, self.at(ctx, id)?, size)
    }

    fn removexattr(&self, ctx: Context, id: u64, name: &CStr) -> io::Result<()> {
        self.inner.removexattr(ctx, self.at(ctx, id)?, name)
    }

    fn opendir(&self, ctx: Context, id: u64, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        self.shrink(ctx, 1);
        let opened = self.inner.opendir(ctx, self.at(ctx, id)?, flags)?;
        self.opened(id, opened.0);
        Ok(opened)
    }

    fn readdir(&self, ctx: Context, id: u64, handle: u64, size: u32, at: u64) -> io::Result<F::DirIter> {
        self.inner.readdir(ctx, self.at(ctx, id)?, handle, size, at)
    }

    fn fsyncdir(&self, ctx: Context, id: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.inner.fsyncdir(ctx, self.at(ctx, id)?, datasync, handle)
    }

    fn releasedir(&self, ctx: Context, id: u64, flags: u32, handle: u64) -> io::Result<()> {
        self.inner.releasedir(ctx, self.at(ctx, id)?, flags, handle)?;
        self.closed(ctx, id);
        Ok(())
    }

    fn access(&self, ctx: Context, id: u64, mask: u32) -> io::Result<()> {
        self.inner.access(ctx, self.at(ctx, id)?, mask)
    }

    fn lseek(&self, ctx: Context, id: u64, handle: u64, offset: u64, whence: u32) -> io::Result<u64> {
        self.inner.lseek(ctx, self.at(ctx, id)?, handle, offset, whence)
    }

    #[rustfmt::skip]
    fn copyfilerange(
        &self, ctx: Context, from: u64, from_handle: u64, from_at: u64, to: u64, to_handle: u64, to_at: u64, len: u64,
        flags: u64,
    ) -> io::Result<usize> {
        let (from, to) = (self.at(ctx, from)?, self.at(ctx, to)?);
        self.inner.copyfilerange(ctx, from, from_handle, from_at, to, to_handle, to_at, len, flags)
    }

    fn syncfs(&self, ctx: Context, id: u64) -> io::Result<()> {
        self.inner.syncfs(ctx, self.at(ctx, id)?)
    }
}
