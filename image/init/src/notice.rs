//! Makes this kernel notice what the host did to files of the share, so that whoever watches them is told: each change is
//! repeated here as a system call, and the share server, which was told before, answers it as done and touches nothing.
//!
//! One thread does it, because the server knows by the thread's number which requests are meant so. What the server does
//! not expect of that thread it refuses; an error here is a change that was overtaken by another one.
//!
//! Where the share server is not ours, the host only says where to look: [`Looks`].

use crate::look::Looks;
use crate::setup::{SHARE_DIR, WORKSPACE};
use crate::sys;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, OFlag, fallocate, open, renameat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, gettid, mkdir, unlinkat};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::split;
use tokio::sync::mpsc;
use vmclaude_init::wire::mux::Stream;
use vmclaude_init::wire::proto::{self, Act, MAX_TO_GUEST, Noticed};

/// The thread, and the ways to it and back.
pub(crate) struct Repeater {
    acts: std::sync::mpsc::Sender<Vec<Act>>,
    answered: mpsc::Receiver<Noticed>,
}

impl Repeater {
    /// Starts the thread: before it is known whether anybody wants it, because that costs a start less than a new thread.
    pub(crate) fn new() -> Repeater {
        let (acts, todo) = std::sync::mpsc::channel::<Vec<Act>>();
        let (answers, answered) = mpsc::channel(1);
        // Ends with the channel.
        std::thread::spawn(move || {
            let _ = answers.blocking_send(Noticed::By(gettid().as_raw().unsigned_abs()));
            let mut place = Place::default();
            for list in todo {
                for act in &list {
                    let _ = repeat(&mut place, act);
                }
                place.done();
                if answers.blocking_send(Noticed::All).is_err() {
                    return;
                }
            }
        });
        Repeater { acts, answered }
    }

    /// Repeats what comes down `stream` until it ends.
    pub(crate) async fn serve(mut self, stream: Stream) -> io::Result<()> {
        let (mut from_host, mut to_host) = split(stream);
        loop {
            let Some(answer) = self.answered.recv().await else { return Ok(()) };
            proto::send(&mut to_host, &answer).await?;
            match proto::receive(&mut from_host, MAX_TO_GUEST).await? {
                Some(list) => drop(self.acts.send(list)),
                None => return Ok(()),
            }
        }
    }
}

/// Where the host's changes are looked for; made when that is asked for.
#[derive(Default)]
struct Place(Option<Arc<Mutex<Looks>>>);

impl Place {
    fn looks(&mut self) -> nix::Result<MutexGuard<'_, Looks>> {
        if self.0.is_none() {
            let started = Looks::start(Path::new(WORKSPACE));
            self.0 = Some(started.map_err(|e| {
                sys::log(&format!("changes on the host are not told: {e}"));
                Errno::from_raw(e.raw_os_error().unwrap_or(0))
            })?);
        }
        let looks = self.0.as_ref().ok_or(Errno::EINVAL)?;
        Ok(looks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn done(&mut self) {
        if self.0.is_some()
            && let Ok(mut looks) = self.looks()
        {
            looks.done();
        }
    }
}

fn repeat(place: &mut Place, act: &Act) -> nix::Result<()> {
    match act {
        Act::Watch(path) => {
            place.looks()?.watch(path);
            Ok(())
        }
        Act::Look { path, written } => {
            place.looks()?.look(path, *written);
            Ok(())
        }
        Act::Create(path, mode) => create(&whole(path), *mode),
        Act::Write { path, changed, closed } => write(&whole(path), *changed, *closed),
        Act::Attributes(path) => times(&whole(path), TimeSpec::UTIME_NOW),
        Act::Delete(path, directory) => {
            let how = if *directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
            unlinkat(AT_FDCWD, &whole(path), how)
        }
        Act::Rename(from, to) => renameat(AT_FDCWD, &whole(from), AT_FDCWD, &whole(to)),
    }
}

fn whole(path: &[u8]) -> PathBuf {
    Path::new(SHARE_DIR).join(OsStr::from_bytes(path))
}

fn create(path: &Path, mode: u32) -> nix::Result<()> {
    let kind = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    match kind {
        SFlag::S_IFDIR => mkdir(path, Mode::S_IRWXU),
        // Where it leads is for the server to say.
        SFlag::S_IFLNK => symlink(".", path).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(0))),
        kind => mknod(path, kind, Mode::S_IRUSR | Mode::S_IWUSR, 0),
    }
}

/// Space for what is there already is what a kernel calls a modification, as a new modification time is. The latter needs no right
/// to write, which is for files that cannot be opened for writing (those that are being executed) or are not closed yet; but its
/// answer has the file's size in it, and a size that is older by the time it is read cuts short what somebody else reads just then.
fn write(path: &Path, changed: bool, closed: bool) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let opened = closed.then(|| open(path, flags, Mode::empty()));
    if changed {
        let space = |file| fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 1);
        let told = opened.as_ref().is_some_and(|opened| opened.as_ref().is_ok_and(|file| space(file).is_ok()));
        if told { Ok(()) } else { times(path, TimeSpec::UTIME_OMIT) }?;
    }
    opened.map_or(Ok(()), |opened| opened.map(drop))
}

/// With both times it counts as a change of attributes, with one of them as a change of contents.
fn times(path: &Path, access: TimeSpec) -> nix::Result<()> {
    utimensat(AT_FDCWD, path, &access, &TimeSpec::UTIME_NOW, UtimensatFlags::NoFollowSymlink)
}
