//! Files as we keep them: private, replaced atomically, changed under a lock. Every error names the path.

use crate::error::{Context, Failure, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vmclaude_shim::identity::real_path;

/// Creates `dir` and its missing parents with mode 0700, and refuses one that is not ours or that others may write.
///
/// # Errors
/// When it cannot be created, belongs to somebody else, or is writable by group or others.
pub fn private_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| at(&e, format!("cannot create {}", dir.display()), dir))?;
    let meta = std::fs::symlink_metadata(dir).what(|| format!("cannot look at {}", dir.display()))?;
    if meta.is_symlink() {
        return Err(Failure::refused(format!("{} is a link", dir.display()))
            .because("what is private to you must lie there itself")
            .next(format!("ls -l {}", quoted(dir))));
    }
    check_private(dir, &meta)
}

/// A failure at a path, with the command that shows what is there, or above it where nothing is.
pub fn at(e: &std::io::Error, what: String, path: &Path) -> Failure {
    let there = path.ancestors().find(|above| std::fs::symlink_metadata(above).is_ok());
    let full = matches!(e.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT));
    let next = format!("{} {}", if full { "df -h" } else { "ls -ld" }, quoted(there.unwrap_or(path)));
    Failure::new(what).because(e).next(next)
}

/// Refuses a file or directory that is not ours or that group or others may write.
///
/// # Errors
/// Exit 78, naming the command that mends it.
pub fn check_private(path: &Path, meta: &std::fs::Metadata) -> Result<()> {
    let me = nix::unistd::geteuid().as_raw();
    if meta.uid() != me {
        return Err(Failure::refused(format!("{} is not yours", path.display()))
            .because(format!("it belongs to user {} and you are user {me}", meta.uid()))
            .next(format!("sudo chown -R {me} {}", quoted(path))));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Failure::refused(format!("{} can be written by others", path.display()))
            .because(format!("its mode is {:04o}", meta.mode() & 0o7777))
            .next(format!("chmod go-w {}", quoted(path))));
    }
    Ok(())
}

/// Replaces `path` by a file with these bytes and mode: written aside, flushed to disk, renamed.
///
/// # Errors
/// Any step's, naming the path; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let written = aside(path, bytes, mode).and_then(|aside| {
        aside.as_file().sync_all()?;
        aside.persist(path).map_err(|e| e.error)?;
        sync_dir(path.parent().unwrap_or(Path::new("/")))
    });
    written.map_err(|e| at(&e, format!("cannot write {}", path.display()), path.parent().unwrap_or(path)))
}

/// The same, but for what is of no use any more when this machine starts again: nobody waits for a disk.
///
/// # Errors
/// As there.
pub fn write_passing(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let written = aside(path, bytes, mode).and_then(|aside| aside.persist(path).map(drop).map_err(|e| e.error));
    written.map_err(|e| at(&e, format!("cannot write {}", path.display()), path.parent().unwrap_or(path)))
}

/// A file beside `path`.
fn aside(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<tempfile::NamedTempFile> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut aside = tempfile::Builder::new().prefix(".vmclaude-").tempfile_in(dir)?;
    aside.write_all(bytes)?;
    aside.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(aside)
}

/// Reads a file, and nothing but a file: a pipe in its place would keep us for ever.
///
/// # Errors
/// The system's, and that it is no file.
pub fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map(|_| bytes)
}

/// `path` with the links resolved in the part of it that exists.
pub fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|up| Some((up, real_path(up).ok()?)));
    let Some((up, real)) = found else { return path.to_path_buf() };
    match path.strip_prefix(up) {
        Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
        _ => real,
    }
}

/// Makes the names inside `dir` as durable as their contents.
pub fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A lock on a file of its own, held until dropped.
pub struct Lock(#[allow(dead_code)] Flock<File>);

/// Waits for the exclusive lock `path` (created when missing, never removed).
///
/// # Errors
/// When the file cannot be opened or locked.
pub fn lock(path: &Path) -> Result<Lock> {
    let file = open_lock(path)?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map(Lock)
        .map_err(|(_, e)| e)
        .what(|| format!("cannot lock {}", path.display()))
}

/// How long to wait for somebody who only writes a few bytes under a lock: long enough for any disk, and not for one who hangs.
pub const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// The exclusive lock `path`, or a failure when somebody else holds it for longer than `limit`.
///
/// # Errors
/// As [`lock`], and when the time is over.
pub fn lock_within(path: &Path, limit: Duration) -> Result<Lock> {
    within(path, limit, FlockArg::LockExclusiveNonblock)
}

/// The lock `path`, shared with others who share it, or a failure when somebody has it alone for longer than `limit`.
///
/// # Errors
/// As [`lock_within`].
pub fn share_within(path: &Path, limit: Duration) -> Result<Lock> {
    within(path, limit, FlockArg::LockSharedNonblock)
}

fn within(path: &Path, limit: Duration, how: FlockArg) -> Result<Lock> {
    let end = Instant::now() + limit;
    loop {
        if let Some(lock) = try_to(path, how)? {
            return Ok(lock);
        }
        if Instant::now() > end {
            return Err(Failure::new(format!("cannot lock {}", path.display()))
                .because(format!("another vmclaude holds it for more than {} s", limit.as_secs()))
                .next(format!("fuser -v {}   # who it is", quoted(path))));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The exclusive lock `path` if nobody holds it, `None` if somebody does.
///
/// # Errors
/// When the file cannot be opened.
pub fn try_lock(path: &Path) -> Result<Option<Lock>> {
    try_to(path, FlockArg::LockExclusiveNonblock)
}

fn try_to(path: &Path, how: FlockArg) -> Result<Option<Lock>> {
    Ok(Flock::lock(open_lock(path)?, how).ok().map(Lock))
}

/// Whether somebody holds the exclusive lock `path`; one that is not there is not made, and nobody holds it.
pub fn is_locked(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        // A pipe in its place would keep us for ever.
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| at(&e, format!("cannot open the lock {}", path.display()), path))
}

/// A path as a word for a POSIX shell, for commands that we print.
pub fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Fresh random bytes of the system's.
///
/// # Errors
/// When they cannot be read.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes));
    read.what(|| "cannot read random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_file_and_sets_its_mode() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let path = dir.path().join("f");
        write_atomic(&path, b"one", 0o600)?;
        write_atomic(&path, b"two", 0o640)?;
        assert_eq!(std::fs::read(&path).what(|| "read")?, b"two");
        assert_eq!(std::fs::metadata(&path).what(|| "stat")?.mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(dir.path()).what(|| "list")?.count(), 1, "nothing is left aside");
        Ok(())
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let open = dir.path().join("open");
        private_dir(&open)?;
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o770)).what(|| "chmod")?;
        let refused = private_dir(&open).expect_err("writable by the group");
        assert_eq!(refused.code, crate::exit::REFUSED);
        assert!(refused.next.expect("a command").starts_with("chmod go-w "));
        Ok(())
    }

    #[test]
    fn a_lock_is_held_until_dropped() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let path = dir.path().join("lock");
        let held = lock(&path)?;
        assert!(try_lock(&path)?.is_none());
        drop(held);
        assert!(try_lock(&path)?.is_some());
        let shared = [share_within(&path, Duration::ZERO)?, share_within(&path, Duration::ZERO)?];
        assert!(try_lock(&path)?.is_none());
        drop(shared);
        let _alone = lock(&path)?;
        assert!(share_within(&path, Duration::ZERO).is_err());
        Ok(())
    }

    #[test]
    fn paths_are_quoted_only_when_they_must_be() {
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
