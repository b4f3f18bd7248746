//! Files beneath an open directory, never through a link: a guest may exchange any part of a path while we walk it.

use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

const DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Opens one directory in another.
pub(super) fn open_dir(dir: impl AsFd, name: &[u8]) -> io::Result<File> {
    Ok(openat(dir, OsStr::from_bytes(name), DIR, Mode::empty())?.into())
}

/// At most `most` bytes of a regular file in a directory; `None` for one that is larger, or no regular file.
pub(super) fn read(dir: impl AsFd, name: &[u8], most: u64) -> io::Result<Option<Vec<u8>>> {
    // Without waiting for the other end of a pipe.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(openat(dir, OsStr::from_bytes(name), flags, Mode::empty())?);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > most {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// Where a link in a directory leads.
pub(super) fn link(dir: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(readlinkat(dir, OsStr::from_bytes(name))?.into_vec())
}

/// The directory that holds the file at `path`, made where it is missing and `make` says so, and the file's name.
fn parent<'a>(root: &File, path: &'a [u8], make: bool) -> io::Result<(File, &'a [u8])> {
    let (dirs, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let mut dir = root.try_clone()?;
    for part in dirs.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        if part == b"." || part == b".." {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        dir = match open_dir(&dir, part) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && make => {
                mkdirat(&dir, OsStr::from_bytes(part), Mode::from_bits_truncate(0o755))?;
                open_dir(&dir, part)?
            }
            other => other?,
        };
    }
    match name {
        b"" | b"." | b".." => Err(io::ErrorKind::InvalidInput.into()),
        name => Ok((dir, name)),
    }
}

/// The bytes of the regular file at `path`, at most `most`.
pub(super) fn read_at(root: &File, path: &[u8], most: u64) -> io::Result<Option<Vec<u8>>> {
    let (dir, name) = parent(root, path, false)?;
    read(dir, name, most)
}

/// Where the link at `path` leads.
pub(super) fn link_at(root: &File, path: &[u8]) -> io::Result<Vec<u8>> {
    let (dir, name) = parent(root, path, false)?;
    link(dir, name)
}

/// Removes the file at `path`; one that is not there is removed already. Directories stay.
pub(super) fn remove(root: &File, path: &[u8]) -> io::Result<()> {
    let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) };
    match parent(root, path, false) {
        Ok((dir, name)) => {
            unlinkat(dir, OsStr::from_bytes(name), UnlinkatFlags::NoRemoveDir).map_err(io::Error::from).or_else(gone)
        }
        Err(e) => gone(e),
    }
}

/// Whether a directory is at `path`.
pub(super) fn is_dir_at(root: &File, path: &[u8]) -> bool {
    let found = parent(root, path, false).and_then(|(dir, name)| stat(dir, OsStr::from_bytes(name)));
    found.is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// The inode of what is at `path`.
pub(super) fn inode_at(root: &File, path: &[u8]) -> io::Result<u64> {
    let (dir, name) = parent(root, path, false)?;
    Ok(stat(dir, OsStr::from_bytes(name))?.st_ino)
}

/// Gives what is at `path` another name beside its own that nothing has, and answers the new path.
pub(super) fn aside(root: &File, path: &[u8]) -> io::Result<Vec<u8>> {
    let (dir, name) = parent(root, path, false)?;
    for n in 1..1000 {
        let suffix = format!(".vmclaude-{n}");
        let new = [name, suffix.as_bytes()].concat();
        match stat(&dir, OsStr::from_bytes(&new)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                renameat(&dir, OsStr::from_bytes(name), &dir, OsStr::from_bytes(&new))?;
                return Ok([path, suffix.as_bytes()].concat());
            }
            other => other.map(drop)?,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What a file shall be again.
pub(super) enum Was<'a> {
    /// These bytes, with this mode.
    File(&'a [u8], u32),
    /// A link that leads there.
    Link(&'a [u8]),
}

/// Replaces the file at `path`, as a whole.
pub(super) fn write(root: &File, path: &[u8], was: &Was<'_>) -> io::Result<()> {
    let (dir, name) = parent(root, path, true)?;
    let aside = format!(".vmclaude-restore-{}", std::process::id());
    let _ = unlinkat(&dir, aside.as_str(), UnlinkatFlags::NoRemoveDir);
    match was {
        Was::File(bytes, mode) => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(&dir, aside.as_str(), flags, Mode::from_bits_truncate(0o600))?);
            file.write_all(bytes)?;
            fchmod(&file, Mode::from_bits_truncate(*mode as _))?;
            file.sync_all()?;
        }
        Was::Link(to) => symlinkat(OsStr::from_bytes(to), &dir, aside.as_str())?,
    }
    renameat(&dir, aside.as_str(), &dir, OsStr::from_bytes(name)).inspect_err(|_| {
        let _ = unlinkat(&dir, aside.as_str(), UnlinkatFlags::NoRemoveDir);
    })?;
    Ok(())
}

/// What `lstat` says of a name in a directory.
pub(super) fn stat(dir: impl AsFd, name: &OsStr) -> io::Result<nix::sys::stat::FileStat> {
    Ok(nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beneath_leads_out_through_a_link() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (root, out) = (dir.path().join("root"), dir.path().join("out"));
        std::fs::create_dir_all(root.join("sub")).expect("mkdir");
        std::fs::create_dir(&out).expect("mkdir");
        std::fs::write(out.join("secret"), "s").expect("write");
        std::os::unix::fs::symlink(&out, root.join("link")).expect("ln");
        std::os::unix::fs::symlink(out.join("secret"), root.join("file")).expect("ln");
        let open = File::open(&root).expect("open");
        for path in [&b"link/secret"[..], b"file", b"../out/secret", b"sub/../../out/secret", b"sub/..", b""] {
            assert!(read_at(&open, path, 9).is_err(), "{path:?}");
        }
        for path in [&b"link/secret"[..], b"../out/secret", b"link/new"] {
            assert!(write(&open, path, &Was::File(b"x", 0o644)).is_err(), "{path:?}");
            assert!(remove(&open, path).is_err() || out.join("secret").exists());
        }
        assert_eq!(std::fs::read(out.join("secret")).expect("read"), b"s");
        write(&open, b"file", &Was::File(b"new", 0o640)).expect("a link itself is replaced");
        write(&open, b"a/b/c", &Was::Link(b"../x")).expect("parents are made");
        assert_eq!(read_at(&open, b"file", 9).expect("read"), Some(b"new".to_vec()));
        assert_eq!(
            (read_at(&open, b"file", 2).expect("read"), std::fs::read(out.join("secret")).expect("read")),
            (None, b"s".to_vec())
        );
        assert_eq!(std::fs::read_dir(&root).expect("list").count(), 4, "nothing is left aside");
    }
}
