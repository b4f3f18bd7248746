//! The process that becomes the command. It is forked before the host has said anything, and so before a machine is saved: a copy
//! then has neither to make a process nor its share of memory, which under emulation takes longer than many a command. It waits for
//! what to become, in a process group of its own and in our session, so that the kernel's job control works as it does under a shell.
//! Only a command with a terminal needs another one: a process has its terminal from its parent.

use crate::Place;
use crate::why::Why;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork};
use std::ffi::{CStr, CString};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use vmclaude_init::wire::proto::{self, Start};

/// What we have in a container, and no command, not even one of its root's: CAP_SYS_ADMIN and CAP_SYS_TIME.
const OURS: [libc::c_ulong; 2] = [21, 25];

/// The numbers that go before the texts: how many arguments and variables, how many bytes of text, whose it is, its mask, and which
/// of its streams are closed.
const NUMBERS: usize = 7;

/// The waiting process.
pub(crate) struct Runner {
    pid: Pid,
    socket: UnixStream,
}

/// Descriptors that the command gets: its three streams, and its terminal where there is one.
pub(crate) struct Ends {
    pub(crate) streams: [OwnedFd; 3],
    pub(crate) terminal: Option<OwnedFd>,
}

impl Runner {
    /// Makes it. Nothing of ours but its socket is open in it, so nothing that we close stays open for it.
    pub(crate) fn new(place: Place) -> io::Result<Runner> {
        let (socket, theirs) = UnixStream::pair()?;
        // SAFETY: the child uses memory, which the C library allows also where we have other threads, and no lock of theirs.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Runner { pid: child, socket }),
            ForkResult::Child => {
                drop(socket);
                let why = wait(place, theirs.as_fd());
                let _ = (&theirs).write_all(&why.bytes());
                // SAFETY: ends the process at once; nothing here needs to be dropped.
                unsafe { libc::_exit(127) }
            }
        }
    }

    /// Makes another one, which has the terminal that we have by now. This one ends when it sees that nobody needs it.
    pub(crate) fn with_terminal(self, place: Place) -> io::Result<Runner> {
        Runner::new(place)
    }

    /// Has it become the command. What comes back within is why it did not.
    pub(crate) fn start(mut self, order: &Order<'_>, ends: Ends) -> io::Result<Result<Pid, Why>> {
        self.tell(order, ends)?;
        let mut why = Vec::new();
        // It closes when the command runs.
        self.socket.read_to_end(&mut why)?;
        Ok(match why.first_chunk() {
            None => Ok(self.pid),
            Some(bytes) => Err(Why::of(*bytes)),
        })
    }

    /// Tells it what to become, and does not wait for it.
    pub(crate) fn tell(&mut self, order: &Order<'_>, ends: Ends) -> io::Result<()> {
        let (numbers, text) = order.bytes()?;
        let fds: Vec<RawFd> = ends.streams.iter().chain(&ends.terminal).map(AsRawFd::as_raw_fd).collect();
        let with = [ControlMessage::ScmRights(&fds)];
        let sent = sendmsg::<()>(self.socket.as_raw_fd(), &[IoSlice::new(&numbers)], &with, MsgFlags::empty(), None)?;
        if sent != numbers.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.socket.write_all(&text)
    }

    /// Its number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }
}

/// What to become.
pub(crate) struct Order<'a> {
    pub(crate) cwd: &'a [u8],
    pub(crate) argv: &'a [Vec<u8>],
    pub(crate) env: &'a [(Vec<u8>, Vec<u8>)],
    pub(crate) user: (u32, u32),
    pub(crate) umask: u32,
    /// Which of its streams are closed.
    pub(crate) closed: [bool; 3],
}

impl Order<'_> {
    /// The one that the host's message asks for.
    pub(crate) fn of(start: &Start) -> Order<'_> {
        Order {
            cwd: &start.cwd,
            argv: &start.argv,
            env: &start.env,
            user: start.user,
            umask: start.umask,
            closed: [0, 1, 2].map(|n| start.stdio[n] == proto::Stdio::Closed),
        }
    }

    /// In bytes: numbers, and texts with an end each. The first is the directory, then come arguments and variables.
    fn bytes(&self) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut text = Vec::new();
        let mut add = |parts: &[&[u8]]| {
            let whole = CString::new(parts.concat())?;
            text.extend(whole.as_bytes_with_nul());
            io::Result::Ok(())
        };
        add(&[self.cwd])?;
        self.argv.iter().try_for_each(|word| add(&[word]))?;
        self.env.iter().try_for_each(|(name, value)| add(&[name, b"=", value]))?;
        let closed = (0..3).filter(|n| self.closed[*n]).fold(0, |all, n| all | 1 << n);
        let size = |len: usize| u32::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let sizes = [size(self.argv.len())?, size(self.env.len())?, size(text.len())?];
        let numbers = [sizes[0], sizes[1], sizes[2], self.user.0, self.user.1, self.umask, closed];
        Ok((numbers.iter().flat_map(|n| n.to_ne_bytes()).collect(), text))
    }
}

/// The child: makes itself ready, waits for its order, and becomes the command. Comes back only when that fails.
fn wait(place: Place, socket: BorrowedFd<'_>) -> Why {
    let mut bytes = [0; NUMBERS * 4];
    let number = |bytes: &[u8], n: usize| u32::from_ne_bytes(bytes[n * 4..][..4].try_into().unwrap_or_default());
    let text = match prepare(place, socket).and_then(|()| take(socket, &mut bytes, number)) {
        Ok(text) => text,
        Err(e) => return Why::unready(e),
    };
    let words: Vec<&CStr> =
        text.split_inclusive(|b| *b == 0).filter_map(|t| CStr::from_bytes_with_nul(t).ok()).collect();
    become_command(&words, number(&bytes, 0) as usize, number(&bytes, 6))
}

/// What needs no order.
fn prepare(place: Place, socket: BorrowedFd<'_>) -> io::Result<()> {
    close_all_but(socket.as_raw_fd())?;
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    // We are spared when memory is short; the command is not.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    crate::sys::as_usual()?;
    raise_files()?;
    if place == Place::Container {
        crate::sys::give_up(&OURS)?;
    }
    for ignored in [Signal::SIGPIPE, Signal::SIGHUP] {
        // SAFETY: a disposition runs no code. Rust's own start had the first ignored, and we the other where we lead a terminal.
        unsafe { signal(ignored, SigHandler::SigDfl)? };
    }
    Ok(SigSet::empty().thread_set_mask()?)
}

/// The order's texts; its streams, mask and user are ours then.
fn take(socket: BorrowedFd<'_>, bytes: &mut [u8], number: impl Fn(&[u8], usize) -> u32) -> io::Result<Vec<u8>> {
    let fds = receive(socket, bytes)?;
    let mut text = vec![0; number(bytes, 2) as usize];
    UnixStream::from(socket.try_clone_to_owned()?).read_exact(&mut text)?;
    if let Some(terminal) = fds.get(3) {
        to_the_front(terminal.as_fd())?;
    }
    for (n, fd) in (0..3).zip(&fds) {
        // SAFETY: our own stdin, stdout and stderr, which nothing owns here.
        Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), n) })?;
    }
    umask(Mode::from_bits_truncate(number(bytes, 5)));
    become_user(Uid::from_raw(number(bytes, 3)), Gid::from_raw(number(bytes, 4)))?;
    Ok(text)
}

/// The last steps, of which the user may hear as of his own: the first word is the directory, then come so many arguments and the
/// variables. Each bit of `closed` is a stream.
fn become_command(words: &[&CStr], arguments: usize, closed: u32) -> Why {
    let Some((cwd, words)) = words.split_first() else { return Why::Unready(Errno::EINVAL) };
    let Some((argv, env)) = words.split_at_checked(arguments) else { return Why::Unready(Errno::EINVAL) };
    if let Err(e) = nix::unistd::chdir(*cwd) {
        return Why::Directory(e);
    }
    for n in (0..3).filter(|n| closed & 1 << n != 0) {
        // SAFETY: our own, which nothing owns here.
        unsafe { libc::close(n) };
    }
    Why::Command(execute(argv, env))
}

fn become_user(uid: Uid, gid: Gid) -> io::Result<()> {
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setgid(gid)?;
    Ok(nix::unistd::setuid(uid)?)
}

/// Becomes the terminal's foreground.
fn to_the_front(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a disposition of SIG_IGN runs no code; it is put back before exec.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn)? };
    nix::unistd::tcsetpgrp(terminal, nix::unistd::getpid())?;
    // SAFETY: as above.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigDfl)? };
    Ok(())
}

/// As a shell would: what has no slash is looked for in the command's own PATH.
fn execute(argv: &[&CStr], env: &[&CStr]) -> Errno {
    let pointers = |texts: &[&CStr]| -> Vec<*const libc::c_char> {
        texts.iter().map(|t| t.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let Some(name) = argv.first().filter(|name| !name.is_null()) else { return Errno::EINVAL };
    // SAFETY: both are arrays of texts with an end, which live until this process is another program; there is one thread.
    unsafe {
        libc::environ = env.as_ptr().cast_mut().cast();
        libc::execvp(*name, argv.as_ptr());
    }
    Errno::last()
}

/// The numbers, and the descriptors that come with them.
fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let wanted = bytes.len();
    let mut room = nix::cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    if message.bytes != wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let raw = message.cmsgs()?.flat_map(|c| if let ControlMessageOwned::ScmRights(fds) = c { fds } else { Vec::new() });
    // SAFETY: the kernel made these descriptors just now; nothing else owns them.
    Ok(raw.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect())
}

/// Open files: many, and a hard limit that programs may still raise to. A container may have less and no right to more.
fn raise_files() -> io::Result<()> {
    const FILES: Resource = Resource::RLIMIT_NOFILE;
    const SOFT: u64 = 1 << 16;
    if setrlimit(FILES, SOFT, 1 << 19).is_err() {
        let (_, hard) = getrlimit(FILES)?;
        setrlimit(FILES, SOFT.min(hard), hard)?;
    }
    Ok(())
}

/// Closes every descriptor from 3 on but this one.
fn close_all_but(keep: RawFd) -> io::Result<()> {
    for (first, last) in [(3, keep - 1), (keep + 1, RawFd::MAX)] {
        // SAFETY: no memory is involved, and this process uses none of them.
        if first <= last && unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
