//! The one wrapper around the file system that the guest reaches. A hostile guest kernel sends any request it likes, so
//! every rule about what it may do is in this file, whatever the layers below would make of the request.
//!
//! The rules, in the order of the checks:
//! - **Names** are one component. `PassthroughFs` hands a name to `unlinkat(2)` and its kin as it comes, so `../x` would
//!   leave the share, and `a/b` would pass by every rule about a path.
//! - **Read-only** tags, and the root with the tags in it, are never changed: `EROFS`.
//! - **Protected paths** (see [`super::places`]) are read-only with all that is below them, also where they are not there
//!   yet. A directory on the way to one can be made, but not moved or removed, and nothing else can be put in its place.
//!   What is protected is known by its inode too, so a second name of it is no way around.
//! - **Kinds**: regular files, directories, links, pipes and sockets. No device nodes, and no whiteouts, which are some.
//! - **Set-id** bits never reach a file of the host: they are dropped silently, as the kernel does for somebody outside
//!   the file's group, because `tar -xp` and `cp -p` ask for them and have no use for a failure. Set-group-id on a
//!   directory says only which group new files in it have, which is what teams use it for, and stays.
//! - **One owner**: the guest's users are one user of the host, so groups and security labels that come with a request
//!   are dropped.

use super::nodes::{Nodes, Tag};
use super::places::Places;
use super::rules;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::time::Duration;
use virtiofsd::filesystem::{
    Context, Entry, Extensions, FileSystem, FsOptions, GetxattrReply, ListxattrReply, OpenOptions,
    SerializableFileSystem, SetattrValid, SetxattrFlags, ZeroCopyReader, ZeroCopyWriter,
};
use virtiofsd::fuse::{Attr, SetattrIn};

mod checks;
#[cfg(test)]
mod tests;

/// A file system that keeps the rules of this module and leaves the rest to `F`.
pub(super) struct Guard<F> {
    inner: F,
    nodes: Nodes,
}

impl<F: FileSystem<Inode = u64, Handle = u64>> Guard<F> {
    /// Guards `inner`, whose root holds these tags by their names, and nothing else.
    pub(super) fn new(inner: F, tags: BTreeMap<Vec<u8>, Tag>, places: Places) -> Guard<F> {
        Guard { inner, nodes: Nodes::new(tags, places) }
    }

    /// What is guarded.
    pub(super) fn inner(&self) -> &F {
        &self.inner
    }

    /// The guest is told, by a layer above, that `name` in `parent` is `inode`.
    pub(super) fn adopt(&self, parent: u64, name: &CStr, inode: u64) {
        self.nodes.adopt(parent, name, inode);
    }
}

// Operations that the trait answers by itself (ENOSYS) and that `PassthroughFs` does not have either are left out:
// locks stay within the guest, and there are no ioctls and no unnamed files.
impl<F: FileSystem<Inode = u64, Handle = u64>> FileSystem for Guard<F> {
    type Inode = u64;
    type Handle = u64;
    type DirIter = F::DirIter;

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        self.nodes.reset();
        let options = self.inner.init(capable)?;
        self.pin();
        Ok(options)
    }

    fn destroy(&self) {
        self.nodes.reset();
        self.inner.destroy();
    }

    fn lookup(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        rules::one_component(name)?;
        Ok(self.tell(parent, name, self.inner.lookup(ctx, parent, name)?))
    }

    fn forget(&self, ctx: Context, inode: u64, count: u64) {
        // More than it has would take away what others hold: our own references, and those of a read-only name.
        match self.nodes.forget(inode, count) {
            0 => {}
            count => self.inner.forget(ctx, inode, count),
        }
    }

    fn batch_forget(&self, ctx: Context, requests: Vec<(u64, u64)>) {
        let had = |(inode, count)| (inode, self.nodes.forget(inode, count));
        self.inner.batch_forget(ctx, requests.into_iter().map(had).filter(|(_, count)| *count > 0).collect());
    }

    fn getattr(&self, ctx: Context, inode: u64, handle: Option<u64>) -> io::Result<(Attr, Duration)> {
        let (attr, usual) = self.inner.getattr(ctx, inode, handle)?;
        Ok((attr, self.fresh(inode, &attr, usual)))
    }

    #[rustfmt::skip]
    fn setattr(
        &self, ctx: Context, inode: u64, mut attr: SetattrIn, handle: Option<u64>, valid: SetattrValid,
    ) -> io::Result<(Attr, Duration)> {
        self.change(inode)?;
        if valid.contains(SetattrValid::MODE) {
            attr.mode = self.mode_for(ctx, inode, attr.mode)?;
        }
        let (attr, usual) = self.inner.setattr(ctx, inode, attr, handle, valid)?;
        Ok((attr, self.fresh(inode, &attr, usual)))
    }

    fn readlink(&self, ctx: Context, inode: u64) -> io::Result<Vec<u8>> {
        self.inner.readlink(ctx, inode)
    }

    fn symlink(&self, ctx: Context, to: &CStr, parent: u64, name: &CStr, _: Extensions) -> io::Result<Entry> {
        self.make(parent, name)?;
        Ok(self.tell(parent, name, self.inner.symlink(ctx, to, parent, name, Extensions::default())?))
    }

    #[rustfmt::skip]
    fn mknod(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, rdev: u32, umask: u32, _: Extensions,
    ) -> io::Result<Entry> {
        self.make(parent, name)?;
        rules::kind(mode)?;
        let entry = self.inner.mknod(ctx, parent, name, rules::mode(mode, false), rdev, umask, Extensions::default())?;
        Ok(self.tell(parent, name, entry))
    }

    fn mkdir(&self, ctx: Context, parent: u64, name: &CStr, mode: u32, mask: u32, _: Extensions) -> io::Result<Entry> {
        rules::one_component(name)?;
        self.change(parent)?;
        if !self.nodes.is_free_for_directory(parent, name) {
            return Err(rules::errno(libc::EROFS));
        }
        let entry = self.inner.mkdir(ctx, parent, name, rules::mode(mode, true), mask, Extensions::default())?;
        Ok(self.tell(parent, name, entry))
    }

    fn unlink(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.take(ctx, parent, name)?;
        self.inner.unlink(ctx, parent, name)
    }

    fn rmdir(&self, ctx: Context, parent: u64, name: &CStr) -> io::Result<()> {
        self.take(ctx, parent, name)?;
        self.inner.rmdir(ctx, parent, name)
    }

    fn rename(&self, ctx: Context, old: u64, name: &CStr, new: u64, to: &CStr, flags: u32) -> io::Result<()> {
        rules::one_component(to)?;
        self.take(ctx, old, name)?;
        self.take(ctx, new, to)?;
        rules::rename_flags(flags)?;
        self.inner.rename(ctx, old, name, new, to, flags)
    }

    fn link(&self, ctx: Context, inode: u64, parent: u64, name: &CStr) -> io::Result<Entry> {
        self.change(inode)?;
        self.make(parent, name)?;
        Ok(self.tell(parent, name, self.inner.link(ctx, inode, parent, name)?))
    }

    fn open(&self, ctx: Context, inode: u64, kill: bool, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        let changes = self.open_flags(inode, flags)?;
        let (handle, mut options) = self.inner.open(ctx, inode, kill, flags)?;
        // What was only read is closed without asking: there is nothing that could fail.
        options.set(OpenOptions::NOFLUSH, !changes);
        Ok((handle, options))
    }

    #[rustfmt::skip]
    fn create(
        &self, ctx: Context, parent: u64, name: &CStr, mode: u32, kill: bool, flags: u32, umask: u32, _: Extensions,
    ) -> io::Result<(Entry, Option<u64>, OpenOptions)> {
        self.make(parent, name)?;
        rules::create_flags(flags)?;
        // What is there already is opened like any other file, by the rules for what it is.
        let new = flags | libc::O_EXCL.cast_unsigned();
        let mode = rules::mode(mode, false);
        match self.inner.create(ctx, parent, name, mode, kill, new, umask, Extensions::default()) {
            Ok((entry, handle, options)) => Ok((self.tell(parent, name, entry), handle, options)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && flags & libc::O_EXCL.cast_unsigned() == 0 => {
                let entry = self.lookup(ctx, parent, name)?;
                let opened = self.open(ctx, entry.inode, kill, flags & !libc::O_CREAT.cast_unsigned());
                if opened.is_err() {
                    self.forget(ctx, entry.inode, 1);
                }
                opened.map(|(handle, options)| (entry, handle, options))
            }
            Err(e) => Err(e),
        }
    }

    #[rustfmt::skip]
    fn read<W: ZeroCopyWriter>(
        &self, ctx: Context, inode: u64, handle: u64, to: W, size: u32, at: u64, owner: Option<u64>, flags: u32,
    ) -> io::Result<usize> {
        self.inner.read(ctx, inode, handle, to, size, at, owner, flags)
    }

    #[rustfmt::skip]
    fn write<R: ZeroCopyReader>(
        &self, ctx: Context, inode: u64, handle: u64, from: R, size: u32, at: u64, owner: Option<u64>, delayed: bool,
        kill: bool, flags: u32,
    ) -> io::Result<usize> {
        self.change(inode)?;
        self.inner.write(ctx, inode, handle, from, size, at, owner, delayed, kill, flags)
    }

    fn flush(&self, ctx: Context, inode: u64, handle: u64, owner: u64) -> io::Result<()> {
        self.inner.flush(ctx, inode, handle, owner)
    }

    fn fsync(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.inner.fsync(ctx, inode, datasync, handle)
    }

    fn fallocate(&self, ctx: Context, inode: u64, handle: u64, mode: u32, at: u64, length: u64) -> io::Result<()> {
        self.change(inode)?;
        self.inner.fallocate(ctx, inode, handle, mode, at, length)
    }

    #[rustfmt::skip]
    fn release(
        &self, ctx: Context, inode: u64, flags: u32, handle: u64, flush: bool, unlock: bool, owner: Option<u64>,
    ) -> io::Result<()> {
        self.inner.release(ctx, inode, flags, handle, flush, unlock, owner)
    }

    fn statfs(&self, ctx: Context, inode: u64) -> io::Result<libc::statvfs64> {
        self.inner.statfs(ctx, inode)
    }

    #[rustfmt::skip]
    fn setxattr(
        &self, ctx: Context, inode: u64, name: &CStr, value: &[u8], flags: u32, extra: SetxattrFlags,
    ) -> io::Result<()> {
        self.change(inode)?;
        self.inner.setxattr(ctx, inode, name, value, flags, extra)
    }

    fn getxattr(&self, ctx: Context, inode: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply> {
        self.inner.getxattr(ctx, inode, name, size)
    }

    fn listxattr(&self, ctx: Context, inode: u64, size: u32) -> io::Result<ListxattrReply> {
        self.inner.listxattr(ctx, inode, size)
    }

    fn removexattr(&self, ctx: Context, inode: u64, name: &CStr) -> io::Result<()> {
        self.change(inode)?;
        self.inner.removexattr(ctx, inode, name)
    }

    fn opendir(&self, ctx: Context, inode: u64, flags: u32) -> io::Result<(Option<u64>, OpenOptions)> {
        self.open_flags(inode, flags)?;
        self.inner.opendir(ctx, inode, flags)
    }

    fn readdir(&self, ctx: Context, inode: u64, handle: u64, size: u32, at: u64) -> io::Result<F::DirIter> {
        self.inner.readdir(ctx, inode, handle, size, at)
    }

    fn fsyncdir(&self, ctx: Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()> {
        self.inner.fsyncdir(ctx, inode, datasync, handle)
    }

    fn releasedir(&self, ctx: Context, inode: u64, flags: u32, handle: u64) -> io::Result<()> {
        self.inner.releasedir(ctx, inode, flags, handle)
    }

    fn access(&self, ctx: Context, inode: u64, mask: u32) -> io::Result<()> {
        if mask.cast_signed() & libc::W_OK != 0 {
            self.change(inode)?;
        }
        self.inner.access(ctx, inode, mask)
    }

    fn lseek(&self, ctx: Context, inode: u64, handle: u64, offset: u64, whence: u32) -> io::Result<u64> {
        self.inner.lseek(ctx, inode, handle, offset, whence)
    }

    #[rustfmt::skip]
    fn copyfilerange(
        &self, ctx: Context, from: u64, from_handle: u64, from_at: u64, to: u64, to_handle: u64, to_at: u64, len: u64,
        flags: u64,
    ) -> io::Result<usize> {
        self.change(to)?;
        self.inner.copyfilerange(ctx, from, from_handle, from_at, to, to_handle, to_at, len, flags)
    }

    fn syncfs(&self, ctx: Context, inode: u64) -> io::Result<()> {
        self.inner.syncfs(ctx, inode)
    }
}

// A running share is not moved between hosts, so its state is never written down.
impl<F> SerializableFileSystem for Guard<F> {}
