//! Where the share is not served by us (Apple's), nobody makes this kernel believe that a file was made or removed. What is
//! left is to give a file the owner or the mode that it has, and to open it for writing and close it: whoever watches hears that
//! something is there, and looks.
//!
//! The host only says where something happened, also when it happened from in here. So what this machine's programs do is
//! watched as well ([`watch`]), and where a file is as they left it, nothing is told. What is done here comes back from the
//! host too: then the file is as it was when it was told.

mod file;
mod watch;

use file::{Root, State};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::AddWatchFlags;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use watch::Watches;

/// How long a program's writing is left alone before the file is looked at.
const PAUSE: Duration = Duration::from_millis(10);
/// How many files are looked at without letting the host's news in.
const PIECE: usize = 16;
/// What was not heard of for so long is not an echo of anything.
const OLD: Duration = Duration::from_secs(30);
/// At how many files what is old is thrown away.
const MANY: usize = 10_000;
/// How long nothing is told when more happened here than this kernel could say.
const BLIND: Duration = Duration::from_secs(2);

/// See the module. Paths are from the project's root.
pub(crate) struct Looks {
    root: Root,
    watches: Watches,
    /// What programs here did something to, not looked at since.
    touched: BTreeSet<PathBuf>,
    left: HashMap<PathBuf, Left>,
    /// Directories in which something is different and cannot be told by its name.
    different: BTreeSet<PathBuf>,
    blind: Option<Instant>,
}

/// How a file was left, and when that was seen.
struct Left {
    state: Option<State>,
    /// By a program here, and not by the host.
    here: bool,
    at: Instant,
}

impl Looks {
    /// Looks at the project at `root`, in a thread of its own, which ends with the process.
    pub(crate) fn start(root: &Path) -> io::Result<Arc<Mutex<Looks>>> {
        let watches = Watches::new()?;
        let waits = watches.inotify.as_fd().try_clone_to_owned()?;
        let looks = Looks {
            root: Root::open(root)?,
            watches,
            touched: BTreeSet::new(),
            left: HashMap::new(),
            different: BTreeSet::new(),
            blind: None,
        };
        let looks = Arc::new(Mutex::new(looks));
        let shared = looks.clone();
        thread::spawn(move || {
            while poll(&mut [PollFd::new(waits.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).is_ok() {
                thread::sleep(PAUSE);
                let settled = || shared.lock().unwrap_or_else(PoisonError::into_inner).settle();
                while !settled() {}
            }
        });
        Ok(looks)
    }

    /// The host watches this directory, so programs here are watched in it too.
    pub(crate) fn watch(&mut self, path: &[u8]) {
        let path = Path::new(OsStr::from_bytes(path));
        self.note(None);
        let Ok(dir) = self.root.directory(path) else { return };
        if !self.watches.add(path, &dir) {
            return;
        }
        // What was made here before we watched was made here as well.
        if self.touched.contains(path) || self.left.get(path).is_some_and(|left| left.here) {
            for name in file::names(dir) {
                let below = path.join(name);
                let state = self.root.state(&below).ok().flatten();
                self.leave(below, state, true);
            }
        }
    }

    /// Something happened to this name, says the host; `written`: not only to its attributes.
    pub(crate) fn look(&mut self, path: &[u8], written: bool) {
        let path = Path::new(OsStr::from_bytes(path));
        self.note(None);
        if self.touched.contains(path) || self.blind.is_some_and(|since| since.elapsed() < BLIND) {
            return;
        }
        self.root.ask_anew(path);
        // What cannot be looked at is not ours: another mount, or behind a link.
        let Ok(state) = self.root.state(path) else { return };
        // A program here whose own change the host told before this kernel came to say it.
        self.note(None);
        if self.touched.contains(path) {
            return;
        }
        let known = self.left.get(path).map(|left| left.state);
        if known == Some(state) {
            return;
        }
        self.leave(path.to_owned(), state, false);
        let Some(state) = state else {
            self.watches.remove(path);
            return self.mention(path);
        };
        // The host may have said less or more than this: what comes back of our own is mixed with what happened since.
        let written = state.is_file() && known.flatten().map_or(written, |known| known.contents() != state.contents());
        // A link cannot be given anything, and a file that is not the host's user's neither.
        if !(state.is_file() || state.is_directory()) || !self.tell(path, written) {
            self.mention(path);
        }
    }

    /// Whoever watches the directory of a name shall hear that something in it is different.
    fn mention(&mut self, path: &Path) {
        self.different.insert(path.parent().unwrap_or(Path::new("")).to_owned());
    }

    /// The host has said everything for now.
    pub(crate) fn done(&mut self) {
        for dir in std::mem::take(&mut self.different) {
            if let Ok(state) = self.root.state(&dir) {
                self.leave(dir.clone(), state, false);
            }
            self.tell(&dir, false);
        }
    }

    /// Makes whoever watches this file hear that something is there; whether that could be.
    fn tell(&mut self, path: &Path, written: bool) -> bool {
        let told = self.root.touch(path, written).is_ok();
        self.note(Some(path));
        told
    }

    fn leave(&mut self, path: PathBuf, state: Option<State>, here: bool) {
        let at = Instant::now();
        if self.left.len() >= MANY {
            self.left.retain(|_, left| at.duration_since(left.at) < OLD);
        }
        self.left.insert(path, Left { state, here, at });
    }

    /// Notes what programs here did, but for what we did to `own` just now.
    fn note(&mut self, own: Option<&Path>) {
        const OURS: AddWatchFlags = AddWatchFlags::IN_ATTRIB.union(AddWatchFlags::IN_CLOSE_WRITE);
        for happening in self.watches.read() {
            match happening {
                None => self.blind = Some(Instant::now()),
                Some((path, what)) if own == Some(&*path) && OURS.contains(what & Watches::WHAT) => {}
                Some((path, _)) => drop(self.touched.insert(path)),
            }
        }
    }

    /// Looks at some of what programs here did something to; whether that was all.
    fn settle(&mut self) -> bool {
        self.note(None);
        for _ in 0..PIECE {
            let Some(path) = self.touched.pop_first() else { return true };
            if let Ok(state) = self.root.state(&path) {
                self.leave(path, state, true);
            }
        }
        self.touched.is_empty()
    }
}
