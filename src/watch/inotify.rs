//! The kernel's watches on directories, each opened beneath its mount and without following a link: the paths come from a
//! process that serves a hostile guest.

use crate::plan::{Identity, Mount};
use crate::share::events::{Happening, What};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A mount of the share on the host's side.
pub(super) struct Directory {
    pub(super) tag: String,
    pub(super) path: PathBuf,
    opened: File,
}

impl Directory {
    /// The directory of a mount, if it still is the one that was decided upon.
    pub(super) fn root(mount: &Mount) -> Option<Directory> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let opened = File::options().read(true).custom_flags(flags.bits()).open(&mount.host).ok()?;
        let meta = opened.metadata().ok()?;
        let now = Identity { dev: meta.dev(), ino: meta.ino() };
        let same = mount.identity.is_none_or(|identity| identity == now);
        same.then(|| Directory { tag: mount.tag.clone(), path: mount.host.clone(), opened })
    }

    #[cfg(test)]
    pub(super) fn new(tag: &str, path: &Path) -> io::Result<Directory> {
        Ok(Directory { tag: tag.to_owned(), path: path.to_owned(), opened: File::open(path)? })
    }
}

/// See the module.
pub(super) struct Watches {
    inotify: Inotify,
    directories: HashMap<WatchDescriptor, u64>,
    descriptors: HashMap<u64, WatchDescriptor>,
    /// Whether the kernel ever had more than it keeps until somebody reads, as when this process was stopped.
    pub(super) overflowed: bool,
    #[cfg(test)]
    pub(super) reads: usize,
}

struct Watcher<'a>(&'a Inotify);

impl AsRawFd for Watcher<'_> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

const WHAT: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ONLYDIR);

impl Watches {
    pub(super) fn new() -> io::Result<Watches> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Watches {
            inotify,
            directories: HashMap::new(),
            descriptors: HashMap::new(),
            overflowed: false,
            #[cfg(test)]
            reads: 0,
        })
    }

    /// Watches the directory at `path` in `root` under this number.
    pub(super) fn add(&mut self, id: u64, root: &Directory, path: &[u8]) -> io::Result<()> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let path = if path.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(path)) };
        let dir = openat2(&root.opened, path, how)?;
        let descriptor = self.inotify.add_watch(format!("/proc/self/fd/{}", dir.as_raw_fd()).as_str(), WHAT)?;
        if let Some(old) = self.directories.insert(descriptor, id) {
            self.descriptors.remove(&old);
        }
        self.descriptors.insert(id, descriptor);
        Ok(())
    }

    /// Watches it no more.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(descriptor) = self.descriptors.remove(&id) {
            self.directories.remove(&descriptor);
            let _ = self.inotify.rm_watch(descriptor);
        }
    }

    /// Waits until something happened; can be interrupted. The kernel is asked to say so only while somebody waits here:
    /// as long as nobody reads, it joins writes to a file, and wakes nobody for them.
    pub(super) async fn happened(&self) -> io::Result<()> {
        // SAFETY: the descriptor is the same one, and stays open, as long as it is borrowed.
        let watcher = unsafe { AsyncFd::register_with_interest(Watcher(&self.inotify), Interest::READABLE) }?;
        watcher.readable().await.map(drop)
    }

    /// What happened since the last call.
    pub(super) fn read(&mut self) -> io::Result<Vec<Happening>> {
        #[cfg(test)]
        {
            self.reads += 1;
        }
        let mut events = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(more) => events.extend(more),
                Err(Errno::EAGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(events.into_iter().filter_map(|event| self.happening(event)).collect())
    }

    fn happening(&mut self, event: InotifyEvent) -> Option<Happening> {
        let mask = event.mask;
        self.overflowed |= mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        if mask.contains(AddWatchFlags::IN_IGNORED) {
            let id = self.directories.remove(&event.wd)?;
            self.descriptors.remove(&id);
        }
        let what = [
            (AddWatchFlags::IN_CREATE, What::Created),
            (AddWatchFlags::IN_MODIFY, What::Changed),
            (AddWatchFlags::IN_CLOSE_WRITE, What::Closed),
            (AddWatchFlags::IN_ATTRIB, What::Attributes),
            (AddWatchFlags::IN_DELETE, What::Deleted),
            (AddWatchFlags::IN_MOVED_FROM, What::From(event.cookie)),
            (AddWatchFlags::IN_MOVED_TO, What::To(event.cookie)),
        ];
        let what = what.into_iter().find(|(bit, _)| mask.contains(*bit))?.1;
        let dir = *self.directories.get(&event.wd)?;
        let directory = mask.contains(AddWatchFlags::IN_ISDIR);
        // Without a name it is the directory itself, and its parent is told too.
        Some(Happening { dir, name: event.name?.into_vec(), what, directory })
    }
}
