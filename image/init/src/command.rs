//! Starts the command: as the guest's user, in a process group of its own, in our session, so that the kernel's job
//! control works as it does under a shell.

use crate::Place;
use crate::sys::{set_controlling, set_size};
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use vmclaude_init::wire::proto::{self, Ended, Start};

/// The `tty` group of Debian, and of the devpts mount.
const TTY_GROUP: u32 = 5;

/// What we have in a container, and no command, not even one of its root's: CAP_SYS_ADMIN and CAP_SYS_TIME.
const OURS: [libc::c_ulong; 2] = [21, 25];

/// A running command and our ends of its streams.
pub(crate) struct Running {
    /// The command's process, which is also its process group.
    pub(crate) pid: Pid,
    /// Our end of the terminal.
    pub(crate) terminal: Option<OwnedFd>,
    /// The command's end, held so that the terminal does not end while nobody happens to have it open.
    pub(crate) held: Option<OwnedFd>,
    /// Our ends of the pipes at stdin, stdout and stderr.
    pub(crate) pipes: [Option<OwnedFd>; 3],
}

/// Why there is no running command.
pub(crate) enum NotStarted {
    /// As a shell would put it.
    Ended(Ended),
    /// We could not even try.
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for NotStarted {
    fn from(e: E) -> Self {
        NotStarted::Failed(e.into())
    }
}

/// Starts it.
pub(crate) fn start(place: Place, start: &Start) -> Result<Running, NotStarted> {
    let (name, args) = start.argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string();
    let terminal = start.terminal.map(|size| open_terminal(size, start.user.0)).transpose()?;
    let slave = terminal.as_ref().map(|(_, slave)| slave.as_fd());
    let mut command = Command::new(text(name));
    command.args(args.iter().map(|a| text(a))).env_clear().envs(start.env.iter().map(|(k, v)| (text(k), text(v))));
    let endpoint = |n: usize| endpoint(start.stdio[n], n, slave, start.user);
    let (stdin, to_stdin) = endpoint(0)?;
    let (stdout, from_stdout) = endpoint(1)?;
    let (stderr, from_stderr) = endpoint(2)?;
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let pipes = [to_stdin, from_stdout, from_stderr];
    if let Some(slave) = slave {
        nix::unistd::setsid().ok();
        set_controlling(slave)?;
    }
    become_user(&mut command, place, start, slave.map(|s| s.as_raw_fd()));
    let child = command.spawn().map_err(|e| NotStarted::Ended(cannot(name, &e)))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let (terminal, held) = terminal.unzip();
    Ok(Running { pid, terminal, held, pipes })
}

/// The exit that a shell gives for this error of `exec`.
fn cannot(name: &[u8], e: &io::Error) -> Ended {
    let name = String::from_utf8_lossy(name).into_owned();
    match e.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => Ended::NotFound(name),
        _ => Ended::NotExecutable(format!("{name}: {e}")),
    }
}

fn open_terminal(size: proto::WinSize, uid: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let pty = nix::pty::openpty(None, None)?;
    for fd in [&pty.master, &pty.slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    set_size(&pty.slave, size)?;
    nix::unistd::fchown(&pty.slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP)))?;
    Ok((pty.master, pty.slave))
}

/// What the command gets at one of its three streams, and our end of it.
fn endpoint(
    kind: proto::Stdio,
    n: usize,
    terminal: Option<BorrowedFd<'_>>,
    (uid, gid): (u32, u32),
) -> io::Result<(Stdio, Option<OwnedFd>)> {
    match (kind, terminal) {
        (proto::Stdio::Terminal, Some(terminal)) => Ok((terminal.try_clone_to_owned()?.into(), None)),
        (proto::Stdio::Pipe, _) => {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            let (theirs, ours) = if n == 0 { (read, write) } else { (write, read) };
            // So that the command may open /dev/stdout, as it may on the host.
            nix::unistd::fchown(&theirs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok((theirs.into(), Some(ours)))
        }
        // Closed ones are closed behind the fork.
        _ => Ok((File::options().read(n == 0).write(n != 0).open("/dev/null")?.into(), None)),
    }
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

fn become_user(command: &mut Command, place: Place, start: &Start, terminal: Option<i32>) {
    let (uid, gid) = (Uid::from_raw(start.user.0), Gid::from_raw(start.user.1));
    let mask = Mode::from_bits_truncate(start.umask);
    let closed: Vec<i32> = (0..3).filter(|n| start.stdio[*n as usize] == proto::Stdio::Closed).collect();
    let cwd = std::ffi::CString::new(start.cwd.clone()).unwrap_or_default();
    let setup = move || -> io::Result<()> {
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        if let Some(terminal) = terminal {
            // SAFETY: a disposition of SIG_IGN runs no code; it is put back before exec.
            unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn)? };
            // SAFETY: the descriptor is open in this process: the parent holds it across the fork.
            nix::unistd::tcsetpgrp(unsafe { BorrowedFd::borrow_raw(terminal) }, nix::unistd::getpid())?;
            // SAFETY: as above.
            unsafe { signal(Signal::SIGTTOU, SigHandler::SigDfl)? };
        }
        // We are spared when memory is short; the command is not. (Written while we are root, and without allocating.)
        if let Ok(file) = nix::fcntl::open(c"/proc/self/oom_score_adj", OFlag::O_WRONLY, Mode::empty()) {
            nix::unistd::write(file, b"0")?;
        }
        crate::sys::as_usual()?;
        raise_files()?;
        if place == Place::Container {
            crate::sys::give_up(&OURS)?;
        }
        umask(mask);
        nix::unistd::setgroups(&[gid])?;
        nix::unistd::setgid(gid)?;
        nix::unistd::setuid(uid)?;
        nix::unistd::chdir(cwd.as_c_str()).map_err(|_| io::Error::from_raw_os_error(libc::EACCES))?;
        for fd in &closed {
            // SAFETY: the child's own stdin, stdout or stderr, which nothing owns here.
            unsafe { libc::close(*fd) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made; nothing allocates but the error that ends the child.
    unsafe { command.pre_exec(setup) };
}
