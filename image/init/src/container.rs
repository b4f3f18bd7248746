//! As the first process of a container: the directories, the loopback and the devices are there; the wire is a socket that the
//! system relays to the host, or else stdin and stdout.

use crate::Port;
use crate::relay::Async;
use crate::sys::{at, mount_points};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use vmclaude_init::wire::proto::Start;

/// Where the system relays the host's socket to.
const SOCKET: &str = "/run/vmclaude/wire.sock";
/// The argument by which the host says that the wire is stdin and stdout.
const STDIO: &str = "stdio";
/// How long the relay may take to be there.
const SOON: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// Opens the wire; also stdin, where it is no more than the sign that the host lives.
#[allow(clippy::disallowed_methods)] // Host is the host's
pub(crate) fn open_wire() -> io::Result<(Port, Option<File>)> {
    let stdin = taken(0)?;
    if std::env::args_os().nth(1).is_some_and(|word| word == STDIO) {
        return Ok((Port::Two(stdin, taken(1)?), None));
    }
    let end = Instant::now() + SOON;
    let stream = loop {
        match UnixStream::connect(SOCKET) {
            Ok(stream) => break stream,
            Err(e) if Instant::now() > end => return Err(at("cannot connect to", Path::new(SOCKET), e)),
            Err(_) => std::thread::sleep(PAUSE),
        }
    };
    Ok((Port::One(File::from(OwnedFd::from(stream))), Some(stdin)))
}

/// One of our own streams, for us alone: what we start gets nothing of it.
fn taken(number: i32) -> io::Result<File> {
    // SAFETY: the first three descriptors are open for the whole life of the process.
    let fd = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: both descriptors are open, and nothing owns the one that is replaced.
    if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(File::from(fd))
}

/// Comes back when `life` has ended. What cannot end is no sign of anything.
pub(crate) async fn ended(life: File) {
    let Ok(mut life) = Async::new(life) else { return std::future::pending().await };
    let mut nothing = [0; 64];
    while !matches!(life.read(&mut nothing).await, Ok(0) | Err(_)) {}
}

/// A directory of this container's own: the system has put memory there, for its root.
pub(crate) fn own(dir: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    std::os::unix::fs::chown(dir, Some(uid), Some(gid)).map_err(|e| at("cannot hand over", dir, e))?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(|e| at("cannot close", dir, e))
}

/// Every directory of the host that was promised is there, and the one that was meant: the system can drop one without a word, and
/// finds them by their paths.
pub(crate) fn check_mounts(start: &Start) -> io::Result<()> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let points: Vec<PathBuf> = mount_points(&table).collect();
    for target in start.binds.iter().map(|(_, target, _)| target).chain(&start.own) {
        let target = Path::new(OsStr::from_bytes(target));
        if !points.iter().any(|point| point == target) {
            return Err(io::Error::other(format!("the system did not mount {}", target.display())));
        }
    }
    for proof in start.proofs.iter().map(|proof| Path::new(OsStr::from_bytes(proof))) {
        if let Err(e) = proof.symlink_metadata() {
            let dir = proof.parent().unwrap_or(proof).display();
            return Err(io::Error::other(format!("another directory is mounted at {dir} than was meant: {e}")));
        }
    }
    Ok(())
}
