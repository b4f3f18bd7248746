//! What programs of this machine do in directories.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Directories, by their paths from the project's root.
pub(super) struct Watches {
    pub(super) inotify: Inotify,
    directories: HashMap<WatchDescriptor, PathBuf>,
    descriptors: HashMap<PathBuf, WatchDescriptor>,
}

impl Watches {
    pub(super) const WHAT: AddWatchFlags = AddWatchFlags::IN_CREATE
        .union(AddWatchFlags::IN_MODIFY)
        .union(AddWatchFlags::IN_CLOSE_WRITE)
        .union(AddWatchFlags::IN_ATTRIB)
        .union(AddWatchFlags::IN_DELETE)
        .union(AddWatchFlags::IN_MOVED_FROM)
        .union(AddWatchFlags::IN_MOVED_TO);

    pub(super) fn new() -> io::Result<Watches> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Watches { inotify, directories: HashMap::new(), descriptors: HashMap::new() })
    }

    /// Watches a directory; whether it was not watched before and is now.
    pub(super) fn add(&mut self, path: &Path, dir: &File) -> bool {
        if self.descriptors.contains_key(path) {
            return false;
        }
        let itself = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let Ok(descriptor) = self.inotify.add_watch(itself.as_str(), Self::WHAT | AddWatchFlags::IN_ONLYDIR) else {
            return false;
        };
        // The same directory under another name.
        if let Some(old) = self.directories.insert(descriptor, path.to_owned()) {
            self.descriptors.remove(&old);
        }
        self.descriptors.insert(path.to_owned(), descriptor);
        true
    }

    /// Watches nothing any more at or below a path.
    pub(super) fn remove(&mut self, path: &Path) {
        let gone: Vec<PathBuf> = self.descriptors.keys().filter(|dir| dir.starts_with(path)).cloned().collect();
        for dir in gone {
            if let Some(descriptor) = self.descriptors.remove(&dir) {
                self.directories.remove(&descriptor);
                let _ = self.inotify.rm_watch(descriptor);
            }
        }
    }

    /// All that happened: the name, and what; `None` where this kernel could not tell.
    pub(super) fn read(&mut self) -> Vec<Option<(PathBuf, AddWatchFlags)>> {
        let mut all = Vec::new();
        while let Ok(events) = self.inotify.read_events() {
            all.extend(events.into_iter().filter_map(|event| self.happening(event)));
        }
        all
    }

    fn happening(&mut self, event: InotifyEvent) -> Option<Option<(PathBuf, AddWatchFlags)>> {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return Some(None);
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            let path = self.directories.remove(&event.wd)?;
            self.descriptors.remove(&path);
            return None;
        }
        // Without a name it is the directory itself, and its parent is told too.
        let path = self.directories.get(&event.wd)?.join(event.name?);
        if event.mask.contains(AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_ISDIR) {
            self.remove(&path);
        }
        Some(Some((path, event.mask)))
    }
}
