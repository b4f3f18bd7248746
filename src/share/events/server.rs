//! What the two sides of the server share: who in the guest repeats, what is announced, what the guest did itself. And the
//! side that talks to whoever watches.

use super::coalesce::Key;
use super::echo::{Echo, Kind, Stamp};
use super::outbox::{Outbox, outbox};
use super::prepare::prepare;
use super::{FromServer, MAX_FRAME, ToServer};
use crate::share::bounded::Bounded;
use crate::share::guard::Guard;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use virtiofsd::filesystem::FileSystem;
use virtiofsd::fuse::Attr;
use vmclaude_init::wire::proto;

/// How long what is announced is good after the last repetition. The guest says when it is done; this is for one that died.
const GOOD: Duration = Duration::from_secs(60);

/// What the guest's supervisor is going to do to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ghost {
    /// Make it, of this kind: it is not there yet.
    Create(u32),
    /// Remove it: it is still this file.
    Delete(u64),
    /// Rename it: it is still this file, or if the guest never knew it, what is now under this name; of this kind.
    From(Option<u64>, Key, u32),
    /// Rename something to it: it is still this file, or nothing.
    To(Option<u64>),
}

impl Ghost {
    /// The file that it is about, where there is one.
    fn file(&self) -> Option<u64> {
        match self {
            Ghost::Create(_) => None,
            Ghost::Delete(file) => Some(*file),
            Ghost::From(file, ..) | Ghost::To(file) => *file,
        }
    }
}

/// See the module.
pub(in crate::share) struct Events {
    state: Mutex<State>,
    /// The directories that were reported.
    known: Mutex<HashSet<u64>>,
    by: AtomicI32,
    pub(super) out: Outbox,
}

/// What must be right at any time for both sides: it is held while a request of the guest changes something.
pub(super) struct State {
    pub(super) echo: Echo,
    ghosts: HashMap<Key, VecDeque<Ghost>>,
    since: Instant,
    unwatched: HashSet<u64>,
}

impl Events {
    fn new(out: Outbox) -> Events {
        let state =
            State { echo: Echo::default(), ghosts: HashMap::new(), since: Instant::now(), unwatched: HashSet::new() };
        Events { state: Mutex::new(state), known: Mutex::default(), by: AtomicI32::new(0), out }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this thread of the guest repeats what the host did.
    pub(super) fn repeats(&self, thread: i32) -> bool {
        thread != 0 && self.by.load(Ordering::Relaxed) == thread
    }

    fn known(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest knows a directory: reported once. One for which there is no room is not watched until the guest looks it up
    /// again.
    pub(super) fn learn(&self, id: u64, path: impl FnOnce() -> Option<CString>) {
        let mut known = self.known();
        if known.contains(&id) {
            return;
        }
        let Some(path) = path() else { return };
        let mut parts = path.to_bytes().splitn(2, |b| *b == b'/').map(<[u8]>::to_vec);
        let (tag, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if self.out.offer(FromServer::Known(id, tag, rest)) {
            known.insert(id);
        } else {
            self.out.not_all();
        }
    }

    /// The guest gave these back; `is_known` tells which of them it still has.
    pub(super) fn unlearn(&self, ids: impl Iterator<Item = u64>, is_known: impl Fn(u64) -> bool) {
        let mut known = self.known();
        for id in ids.filter(|id| !is_known(*id)) {
            if known.remove(&id) {
                self.state().unwatched.remove(&id);
                // Where there is no room its watch stays, and what happens there is of no use to anybody.
                self.out.offer(FromServer::Forgotten(id));
            }
        }
    }

    /// How many directories are known, and how many of those are not watched.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.known().len(), self.state().unwatched.len())
    }

    /// The guest begins anew, or is gone.
    pub(super) fn unlearn_all(&self) {
        let all = self.known().clone();
        self.unlearn(all.into_iter(), |_| false);
    }

    /// A directory is not watched, if the guest still has it.
    fn unwatched(&self, id: u64) {
        if self.known().contains(&id) {
            self.state().unwatched.insert(id);
        }
    }
}

impl State {
    /// The guest did this to a name, and it will be seen.
    pub(super) fn did(&mut self, dir: u64, name: &CStr, kind: Kind) {
        if !self.unwatched.contains(&dir) {
            self.echo.did((dir, name.to_bytes().to_vec()), kind);
        }
    }

    /// The repeating thread asks for something.
    pub(super) fn progress(&mut self) {
        if self.since.elapsed() < GOOD {
            self.since = Instant::now();
        }
    }

    /// What is announced for a name.
    pub(super) fn ghost(&self, dir: u64, name: &CStr) -> Option<&Ghost> {
        let ghost = self.ghosts.get(&(dir, name.to_bytes().to_vec()))?.front()?;
        (self.since.elapsed() < GOOD).then_some(ghost)
    }

    /// What was announced for a name is done.
    pub(super) fn lay<F: FileSystem<Inode = u64, Handle = u64>>(&mut self, fs: &Bounded<F>, dir: u64, name: &CStr) {
        let key = (dir, name.to_bytes().to_vec());
        let laid = self.ghosts.get_mut(&key).and_then(VecDeque::pop_front);
        laid.iter().filter_map(Ghost::file).for_each(|file| fs.release_kept(file));
    }

    /// Its file is kept so long: the guest may forget it between one repetition and the next, and would not find it again.
    pub(super) fn announce<F: FileSystem<Inode = u64, Handle = u64>>(
        &mut self,
        fs: &Bounded<F>,
        key: Key,
        ghost: Ghost,
    ) {
        ghost.file().into_iter().for_each(|file| fs.keep(file));
        self.ghosts.entry(key).or_default().push_back(ghost);
    }

    /// What was to be renamed and nobody in the guest knew is this: who asks again finds the same.
    pub(super) fn settle<F: FileSystem<Inode = u64, Handle = u64>>(
        &mut self,
        fs: &Bounded<F>,
        dir: u64,
        name: &CStr,
        file: u64,
    ) {
        let ghost = self.ghosts.get_mut(&(dir, name.to_bytes().to_vec())).and_then(VecDeque::front_mut);
        if let Some(Ghost::From(unknown @ None, ..)) = ghost {
            *unknown = Some(file);
            fs.keep(file);
        }
    }

    /// A list is begun, and what was announced before is void.
    pub(super) fn begin<F: FileSystem<Inode = u64, Handle = u64>>(&mut self, fs: &Bounded<F>) {
        self.lay_all(fs);
        self.since = Instant::now();
    }

    /// Nothing is announced any more.
    fn lay_all<F: FileSystem<Inode = u64, Handle = u64>>(&mut self, fs: &Bounded<F>) {
        let all = std::mem::take(&mut self.ghosts);
        all.values().flatten().filter_map(Ghost::file).for_each(|file| fs.release_kept(file));
    }
}

/// How a file was left.
pub(super) fn stamp(attr: &Attr) -> Stamp {
    Stamp { size: attr.size, modified: (attr.mtime, attr.mtimensec), changed: (attr.ctime, attr.ctimensec) }
}

/// Talks over `control` to whoever watches, in threads of its own, and says what the requests of the guest have to know.
pub(in crate::share) fn serve<F>(fs: &Arc<Guard<Bounded<F>>>, control: File) -> io::Result<Arc<Events>>
where
    F: FileSystem<Inode = u64, Handle = u64> + Send + Sync + 'static,
{
    let (out, messages) = outbox();
    let events = Arc::new(Events::new(out));
    let (shared, fs, writer) = (events.clone(), fs.clone(), control.try_clone()?);
    std::thread::Builder::new().spawn(move || messages.tell(writer))?;
    std::thread::Builder::new().spawn(move || listen(control, &shared, &fs))?;
    Ok(events)
}

fn listen<F: FileSystem<Inode = u64, Handle = u64>>(mut from: File, events: &Events, fs: &Guard<Bounded<F>>) {
    while let Ok(message) = receive(&mut from) {
        match message {
            ToServer::By(thread) => events.by.store(thread.cast_signed(), Ordering::Relaxed),
            ToServer::Unwatched(dir) => events.unwatched(dir),
            ToServer::Happened(happened) => {
                let acts = prepare(&mut events.state(), fs.inner(), happened);
                events.out.send(FromServer::Acts(acts));
            }
            ToServer::Done => events.state().lay_all(fs.inner()),
        }
    }
    events.by.store(0, Ordering::Relaxed);
}

fn receive(from: &mut File) -> io::Result<ToServer> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    proto::decode(&bytes)
}
