//! Starts the command: its streams, its terminal, and the process that becomes it.

use crate::Place;
use crate::runner::{Ends, Order, Runner};
use crate::sys::{set_controlling, set_size};
use crate::why::Why;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Pid, Uid};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vmclaude_init::wire::proto::{self, Ended, Start};

/// The `tty` group of Debian, and of the devpts mount.
const TTY_GROUP: u32 = 5;

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
pub(crate) fn start(place: Place, mut runner: Runner, start: &Start) -> Result<Running, NotStarted> {
    let name = start.argv.first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let terminal = start.terminal.map(|size| open_terminal(size, start.user.0)).transpose()?;
    let slave = terminal.as_ref().map(|(_, slave)| slave.as_fd());
    let endpoint = |n: usize| endpoint(start.stdio[n], n, slave, start.user);
    let (stdin, to_stdin) = endpoint(0)?;
    let (stdout, from_stdout) = endpoint(1)?;
    let (stderr, from_stderr) = endpoint(2)?;
    let pipes = [to_stdin, from_stdout, from_stderr];
    if let Some(slave) = slave {
        nix::unistd::setsid().ok();
        // When it is closed, which it also is when there is no such command, its signal is for us, who lead the session.
        // SAFETY: a signal that is ignored runs no code.
        unsafe { signal(Signal::SIGHUP, SigHandler::SigIgn)? };
        set_controlling(slave)?;
        runner = runner.with_terminal(place)?;
    }
    let slave = slave.map(|slave| slave.try_clone_to_owned()).transpose()?;
    let ends = Ends { streams: [stdin, stdout, stderr], terminal: slave };
    let pid = runner.start(&Order::of(start), ends)?.map_err(|why| cannot(name, &start.cwd, why))?;
    let (terminal, held) = terminal.unzip();
    Ok(Running { pid, terminal, held, pipes })
}

/// Of the command's errors those that a shell gives an exit to; the others are not the command's.
fn cannot(name: &[u8], cwd: &[u8], why: Why) -> NotStarted {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    NotStarted::Ended(match why {
        Why::Unready(errno) => {
            let said = format!("the command's process cannot be made ready: {}", errno.desc());
            return NotStarted::Failed(io::Error::other(said));
        }
        Why::Directory(errno) => Ended::NoDirectory(format!("{}: {}", text(cwd), errno.desc())),
        Why::Command(Errno::ENOENT | Errno::ENOTDIR) => Ended::NotFound(text(name)),
        Why::Command(errno) => Ended::NotExecutable(format!("{}: {}", text(name), io::Error::from(errno))),
    })
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
) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    match (kind, terminal) {
        (proto::Stdio::Terminal, Some(terminal)) => Ok((terminal.try_clone_to_owned()?, None)),
        (proto::Stdio::Pipe, _) => {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            let (theirs, ours) = if n == 0 { (read, write) } else { (write, read) };
            // So that the command may open /dev/stdout, as it may on the host.
            nix::unistd::fchown(&theirs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok((theirs, Some(ours)))
        }
        // Closed ones are closed by the command's process.
        _ => Ok((File::options().read(n == 0).write(n != 0).open("/dev/null")?.into(), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_commands_is_told_as_the_commands() {
        let ended = |why| match cannot(b"sh", b"/workspace/a", why) {
            NotStarted::Ended(ended) => Ok(ended),
            NotStarted::Failed(e) => Err(e.to_string()),
        };
        assert_eq!(ended(Why::Command(Errno::ENOENT)), Ok(Ended::NotFound("sh".into())));
        assert!(matches!(ended(Why::Command(Errno::EACCES)), Ok(Ended::NotExecutable(why)) if why.starts_with("sh: ")));
        let gone = Ended::NoDirectory("/workspace/a: No such file or directory".into());
        assert_eq!(ended(Why::Directory(Errno::ENOENT)), Ok(gone));
        let unready = ended(Why::Unready(Errno::EPERM)).expect_err("it is not the command's");
        assert!(unready.contains("Operation not permitted") && !unready.contains("sh:"), "{unready}");
    }
}
