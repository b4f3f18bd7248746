//! Processes of ours: each in a session of its own, so that no key of the terminal reaches it, and none outlives us.

use super::scratch;
use crate::engine::launch::{FIRST_FD, Program, Source};
use crate::error::{Context, Failure, Result};
use crate::plan::Identity;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
const PATH_ONLY: OFlag = OFlag::O_PATH;
#[cfg(not(target_os = "linux"))]
const PATH_ONLY: OFlag = OFlag::empty();

/// The descriptors of this session that programs inherit.
pub(crate) struct Handles<'a> {
    /// The session's private directory.
    pub(crate) run_dir: &'a Path,
    /// The far end of the wire.
    pub(crate) wire: Option<BorrowedFd<'a>>,
    /// The socket on which the share is served.
    pub(crate) share: Option<BorrowedFd<'a>>,
    /// The far end of the connection for what the host changes.
    pub(crate) events: Option<BorrowedFd<'a>>,
    /// The far end of the control connection.
    pub(crate) control: Option<BorrowedFd<'a>>,
    /// The machine's memory; without it, new memory is made.
    pub(crate) memory: Option<BorrowedFd<'a>>,
    /// The scratch disk; without it, a copy of the image's is made.
    pub(crate) scratch: Option<BorrowedFd<'a>>,
    /// The project's volume, locked.
    pub(crate) volume: Option<BorrowedFd<'a>>,
}

impl<'a> Handles<'a> {
    /// The session's directory and nothing else.
    pub(crate) fn of(run_dir: &'a Path) -> Handles<'a> {
        let none = None;
        Handles {
            run_dir,
            wire: none,
            share: none,
            events: none,
            control: none,
            memory: none,
            scratch: none,
            volume: none,
        }
    }
}

/// A running process; killed when dropped.
pub(crate) struct Running {
    child: Child,
    name: String,
}

/// Starts `program` with its output in `log`, inside the session's directory. It dies with us.
pub(crate) fn start(program: &Program, handles: &Handles<'_>, log: &str, stdin: Stdio) -> Result<Running> {
    launch(program, handles, log, (stdin, None), true)
}

/// Starts a program that is not to die with us, because it has something to finish.
pub(crate) fn start_free(
    program: &Program,
    handles: &Handles<'_>,
    log: &str,
    streams: (Stdio, Option<Stdio>),
) -> Result<Running> {
    launch(program, handles, log, streams, false)
}

fn launch(
    program: &Program,
    handles: &Handles<'_>,
    log: &str,
    (stdin, stdout): (Stdio, Option<Stdio>),
    tied: bool,
) -> Result<Running> {
    let name = program.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let what = || format!("cannot start {}", program.path.display());
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(handles.run_dir.join(log))
        .what(|| format!("cannot open the log of {name}"))?;
    let fds = program.fds.iter().enumerate().map(|(n, s)| place(n, s, handles)).collect::<Result<Vec<_>>>()?;
    let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let parent = nix::unistd::getpid();
    let mut command = Command::new(&program.path);
    command.args(&program.args).env_clear().envs(program.env.iter().cloned()).stdin(stdin);
    command.stdout(stdout.unwrap_or(log.try_clone().what(what)?.into())).stderr(log).current_dir("/");
    let setup = move || -> std::io::Result<()> {
        nix::unistd::setsid()?;
        if tied {
            die_with(parent)?;
        }
        for fd in &numbers {
            // SAFETY: the parent holds these descriptors open until the child has started.
            fcntl(unsafe { BorrowedFd::borrow_raw(*fd) }, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing allocates.
    unsafe { command.pre_exec(setup) };
    let child = command.spawn().what(what)?;
    Ok(Running { child, name })
}

/// Dies when `parent` does, also when it already did.
fn die_with(parent: nix::unistd::Pid) -> std::io::Result<()> {
    crate::os::die_with_parent(nix::sys::signal::Signal::SIGKILL)?;
    if nix::unistd::getppid() != parent {
        return Err(std::io::ErrorKind::NotConnected.into());
    }
    Ok(())
}

/// Opens a source at the number that the program's arguments already name.
fn place(n: usize, source: &Source, handles: &Handles<'_>) -> Result<OwnedFd> {
    let number = FIRST_FD + i32::try_from(n).unwrap_or(0);
    let fail = || Failure::new("a descriptor is missing").because(format!("{source:?}"));
    let placed = match source {
        Source::Wire => duplicate(handles.wire.ok_or_else(fail)?, number),
        Source::ShareListener => duplicate(handles.share.ok_or_else(fail)?, number),
        Source::ShareEvents => duplicate(handles.events.ok_or_else(fail)?, number),
        Source::RunDir => duplicate(open(handles.run_dir)?.as_fd(), number),
        Source::Dir(path, identity) => duplicate(directory(path, *identity)?.as_fd(), number),
        Source::File(path) => duplicate(open(path)?.as_fd(), number),
        Source::Control => duplicate(handles.control.ok_or_else(fail)?, number),
        Source::Volume(_) => duplicate(handles.volume.ok_or_else(fail)?, number),
        Source::Memory(mib) => match handles.memory {
            Some(memory) => duplicate(memory, number),
            None => duplicate(scratch::memory(*mib)?.as_fd(), number),
        },
        Source::Scratch(template) => match handles.scratch {
            Some(scratch) => duplicate(scratch, number),
            None => duplicate(scratch::copy(template, handles.run_dir)?.as_fd(), number),
        },
    };
    let placed = placed.what(|| "cannot pass on a descriptor")?;
    match placed.as_raw_fd() == number {
        true => Ok(placed),
        false => Err(Failure::new("cannot pass on a descriptor").because(format!("number {number} is taken"))),
    }
}

fn duplicate(fd: BorrowedFd<'_>, number: i32) -> nix::Result<OwnedFd> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(number))?;
    // SAFETY: F_DUPFD_CLOEXEC made this descriptor just now; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// The directory itself, if it is still the one that was decided upon: from here on nobody can swap it.
pub(crate) fn directory(path: &Path, identity: Option<Identity>) -> Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | PATH_ONLY;
    let what = || format!("cannot open {}", path.display());
    let dir = File::options().read(true).custom_flags(flags.bits()).open(path).what(what)?;
    let meta = dir.metadata().what(what)?;
    let now = Identity { dev: meta.dev(), ino: meta.ino() };
    match identity {
        Some(before) if before != now => Err(Failure::refused(format!("{} was replaced", path.display()))
            .because("another directory is there than a moment ago")
            .next("vmclaude status")),
        _ => Ok(dir),
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).what(|| format!("cannot open {}", path.display()))
}

impl Running {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and waits for it.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end, for so long; `None`: it goes on. `Some(true)`: it ended well.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<bool> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status.success()),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return None,
                Err(_) => return Some(false),
            }
        }
    }

    /// Whether it has ended, by itself.
    pub(crate) fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended by itself, in words; it gets a moment to do so.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let limit = Instant::now() + Duration::from_secs(1);
        let status = loop {
            match self.child.try_wait().ok()? {
                Some(status) => break status,
                None if Instant::now() > limit => return None,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        Some(match status.signal() {
            Some(signal) => format!("{} was killed by signal {signal}", self.name),
            None => format!("{} exited with {}", self.name, status.code().unwrap_or(-1)),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
