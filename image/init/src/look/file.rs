//! Files of the project, beneath its root and through no link: programs here put what they like in the way.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::fchownat;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// More names of a directory than this are not looked at.
const MOST_NAMES: usize = 5_000;

/// The project's root.
pub(super) struct Root(File);

/// What tells one state of a file from another. Of a directory only that it is one, and its mode: it changes with what is in it.
/// Nothing that may differ from one look to the next by itself: what is told because of it would come back for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    mode: u32,
    size: u64,
    modified: (i64, u32),
}

impl State {
    pub(super) fn is_file(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// What changes with what is in it.
    pub(super) fn contents(self) -> (u64, (i64, u32)) {
        (self.size, self.modified)
    }

    pub(super) fn is_directory(self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        Ok(Root(File::options().read(true).custom_flags(flags.bits()).open(path)?))
    }

    fn find(&self, path: &Path, flags: OFlag) -> nix::Result<File> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(&self.0, path, how).map(|fd: OwnedFd| File::from(fd))
    }

    /// A directory, to be read.
    pub(super) fn directory(&self, path: &Path) -> io::Result<File> {
        Ok(self.find(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)
    }

    /// The share's server is asked for this name even where the kernel would still believe what it knows: as for the target
    /// of a renaming. It is one to itself and must not replace anything, so it is refused, or has nothing to rename.
    pub(super) fn ask_anew(&self, path: &Path) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        if let Ok(dir) = self.find(parent, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            let _ = renameat2(&dir, name, &dir, name, RenameFlags::RENAME_NOREPLACE);
        }
    }

    /// How a file is now, by its server's word; `None`: it is not there.
    pub(super) fn state(&self, path: &Path) -> io::Result<Option<State>> {
        match self.find(path, OFlag::O_PATH) {
            Ok(file) => state(&file).map(Some),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives a file the owner that it has: its watchers are told of a change of attributes, and the host's share takes it for
    /// done. Where that is refused, or would cost the file a set-id bit, it is the mode instead, which could undo what the host
    /// does to it in this very moment.
    ///
    /// And if it was `written`, opens it for writing and closes it, after that: the answer to the first has brought this
    /// kernel the file's size and times. Never with O_CREAT: a file that was removed in between would come back, and one that
    /// is there is not told as made.
    pub(super) fn touch(&self, path: &Path, written: bool) -> io::Result<()> {
        let file = self.find(path, OFlag::O_PATH)?;
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let found = ask(&file)?;
        let mode = Mode::from_bits_truncate(u32::from(found.stx_mode) & 0o7777);
        let owner = || fchownat(&file, "", Some(found.stx_uid.into()), None, AtFlags::AT_EMPTY_PATH);
        if mode.intersects(Mode::S_ISUID | Mode::S_ISGID) || owner().is_err() {
            fchmodat(AT_FDCWD, itself.as_str(), mode, FchmodatFlags::FollowSymlink)?;
        }
        if written {
            // Refused where it is being executed, or is only read.
            let _ = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(itself);
        }
        Ok(())
    }
}

/// What is in a directory, as far as it is looked at.
pub(super) fn names(dir: File) -> Vec<OsString> {
    let itself = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let entries = std::fs::read_dir(itself).into_iter().flatten().flatten();
    entries.take(MOST_NAMES).map(|entry| entry.file_name()).collect()
}

fn state(file: &File) -> io::Result<State> {
    let found = ask(file)?;
    let mode = u32::from(found.stx_mode);
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return Ok(State { mode, size: 0, modified: (0, 0) });
    }
    Ok(State { mode, size: found.stx_size, modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec) })
}

/// What a file's server says of it, and not what this kernel remembers.
fn ask(file: &File) -> io::Result<libc::statx> {
    // SAFETY: all zeroes are a value of it.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_FORCE_SYNC;
    let what = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_UID | libc::STATX_SIZE | libc::STATX_MTIME;
    // SAFETY: the descriptor is open, the path ends with a zero, and the answer has room for itself.
    let done = unsafe { libc::statx(file.as_raw_fd(), c"".as_ptr(), flags, what, &raw mut found) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(found) }
}
