//! The programs that a build needs: found in the system's directories only, run with a time limit and a log.

use super::progress::Progress;
use crate::error::{Context, Failure, Result};
use crate::files::quoted;
use nix::sys::signal::Signal;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The only directories that programs come from: the user's PATH may lead into a project, and lacks sbin on Debian.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs and the packages that bring them.
const NEEDED: [(&str, &str); 8] = [
    ("mmdebstrap", "mmdebstrap"),
    ("mkfs.erofs", "erofs-utils"),
    ("mkfs.ext4", "e2fsprogs"),
    ("dpkg-deb", "dpkg"),
    ("apt-get", "apt"),
    ("depmod", "kmod"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
];

fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|file| file.is_file())
}

/// A command for a system program, with the system's PATH.
///
/// # Errors
/// When there is no such program.
pub(super) fn tool(name: &str) -> Result<Command> {
    let file = find(name).ok_or_else(|| Failure::new(format!("there is no {name} in {PATH}")))?;
    let mut command = Command::new(file);
    command.env("PATH", PATH);
    // TERM, so that mmdebstrap cleans up.
    die_with_us(&mut command, Signal::SIGTERM);
    Ok(command)
}

/// Refuses to start a build when programs are missing.
///
/// # Errors
/// Names all that are missing, and the one command that installs them.
pub(super) fn require(uid: u32) -> Result<()> {
    let mut needed = NEEDED.to_vec();
    if uid != 0 {
        // An ordinary user's root file system has many owners only with these.
        needed.push(("newuidmap", "uidmap"));
    }
    let missing: Vec<_> = needed.into_iter().filter(|(name, _)| find(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let failure = missing.iter().fold(Failure::new("cannot build the image"), |f, (name, package)| {
        f.because(format!("{name} is not installed (package {package})"))
    });
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    let sudo = if uid == 0 { "" } else { "sudo " };
    Err(failure.next(format!("{sudo}apt-get install {}", packages.join(" "))))
}

/// Runs the tools of one build.
pub(super) struct Runner<'a> {
    /// Where everything that they print goes.
    pub(super) log: &'a Path,
    /// Where their newest line is shown.
    pub(super) progress: &'a Progress,
}

impl Runner<'_> {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// When it cannot be started, fails, or takes longer than `limit`; with the end of its output.
    pub(super) fn run(&self, command: &mut Command, what: &str, limit: Duration) -> Result<()> {
        let from = std::fs::metadata(self.log).map_or(0, |m| m.len());
        let out = self.open()?;
        self.finish(command.stdout(out), from, what, limit)
    }

    /// Runs `command` to its end and returns what it wrote to its stdout.
    ///
    /// # Errors
    /// As [`Runner::run`].
    pub(super) fn output(&self, command: &mut Command, what: &str, limit: Duration) -> Result<String> {
        let from = std::fs::metadata(self.log).map_or(0, |m| m.len());
        let mut out = tempfile::tempfile().what(|| "cannot make a temporary file")?;
        let copy = out.try_clone().what(|| "cannot make a temporary file")?;
        self.finish(command.stdout(copy), from, what, limit)?;
        let mut text = String::new();
        out.rewind().and_then(|()| out.read_to_string(&mut text)).what(|| format!("cannot {what}"))?;
        Ok(text)
    }

    fn open(&self) -> Result<File> {
        let open = OpenOptions::new().create(true).append(true).open(self.log);
        open.what(|| format!("cannot write {}", self.log.display()))
    }

    fn finish(&self, command: &mut Command, from: u64, what: &str, limit: Duration) -> Result<()> {
        let context = || format!("cannot {what}");
        let mut child = command.stdin(Stdio::null()).stderr(self.open()?).spawn().what(context)?;
        let show = || self.progress.detail(tail(self.log, 0).last().map_or("", String::as_str));
        let status = wait(&mut child, limit, Duration::from_millis(50), show).what(context)?;
        let Some(why) = complaint(command, status, limit) else { return Ok(()) };
        let tail = tail(self.log, from);
        let failure = tail.iter().fold(Failure::new(context()).because(why), |f, line| f.because(line));
        Err(failure.next(format!("less {}   # the whole log", quoted(self.log))))
    }
}

/// Waits for the child's end and looks for it after every pause; `None`: it took longer, and was stopped.
fn wait(
    child: &mut Child,
    limit: Duration,
    pause: Duration,
    meanwhile: impl Fn(),
) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > end {
            stop(child)?;
            return Ok(None);
        }
        meanwhile();
        std::thread::sleep(pause);
    }
}

/// What is wrong with how the command ended; `None`: nothing.
fn complaint(command: &Command, status: Option<ExitStatus>, limit: Duration) -> Option<String> {
    let name = command.get_program().to_string_lossy();
    match status {
        Some(status) if status.success() => None,
        Some(status) => Some(format!("{name} ended with {status}")),
        None => Some(format!("{name} took longer than {limit:?}")),
    }
}

/// Runs a tool that says little, outside of a build.
///
/// # Errors
/// When it cannot be started, fails, or takes longer than `limit`; with what it said.
pub(super) fn quietly(command: &mut Command, what: &str, limit: Duration) -> Result<()> {
    let context = || format!("cannot {what}");
    let (mut said, writer) = std::io::pipe().what(context)?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().what(context)?;
    // Ours is still open in the command.
    command.stderr(Stdio::null());
    let status = wait(&mut child, limit, Duration::from_millis(2), || ()).what(context)?;
    let Some(why) = complaint(command, status, limit) else { return Ok(()) };
    let failure = Failure::new(context()).because(why);
    let mut text = Vec::new();
    // What a stopped one has started may hold the other end for long.
    if status.is_some() {
        let _ = said.by_ref().take(4096).read_to_end(&mut text);
    }
    Err(String::from_utf8_lossy(&text).lines().fold(failure, |f, line| f.because(line.escape_debug())))
}

/// A build that is killed takes its tools with it. The last signal that was asked for counts.
pub(super) fn die_with_us(command: &mut Command, signal: Signal) {
    // SAFETY: it makes a system call that touches no memory.
    unsafe {
        command.pre_exec(move || crate::os::die_with_parent(signal));
    }
}

fn stop(child: &mut Child) -> std::io::Result<()> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let _ = nix::sys::signal::kill(pid, Signal::SIGTERM);
    for _ in 0..100 {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait().map(drop)
}

/// The last few lines of a log, of what was written behind `from`.
fn tail(log: &Path, from: u64) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(4096))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.split(['\n', '\r']).map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].iter().map(|l| (*l).to_owned()).collect()
}
