//! Volumes: one per project, with what a guest keeps on a disk of its own. Whoever has one holds the lock of its file: with QEMU
//! that is the volume itself, with Apple's `container`, which keeps volumes of its own, a file that is empty.

use crate::error::{Context, Failure, Result};
use crate::files::{self, private_dir};
use crate::image;
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The end of a volume's name.
const ENDING: &str = "ext4";
/// The end of the name of a file that is no more than the lock of one of Apple's.
const LOCK_ENDING: &str = "apple";
/// The end of the name of one that is being made.
const NEW: &str = "new";
/// The lock under which volumes are made.
const LOCK: &str = "lock";
/// How long a session that was killed may hold its volume until it is really gone, and somebody may who only looks.
const PATIENCE: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(10);

/// A volume that nobody else has while this lives. The machine inherits the lock with the descriptor, and holds it as long
/// as it runs, whatever becomes of us.
pub struct Held(Flock<File>);

impl Held {
    /// What the machine gets.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where the volumes are.
fn dir(state: &Path) -> PathBuf {
    state.join("volumes")
}

/// The volume of the project that is known by `key`, whether it is there or not.
pub fn path(state: &Path, key: &OsStr) -> PathBuf {
    named(state, key, ENDING)
}

/// The file that is locked by whoever has the volume that Apple's `container` keeps for that project.
pub fn lock_path(state: &Path, key: &OsStr) -> PathBuf {
    named(state, key, LOCK_ENDING)
}

fn named(state: &Path, key: &OsStr, ending: &str) -> PathBuf {
    let mut name = key.to_os_string();
    name.push(".");
    name.push(ending);
    dir(state).join(name)
}

/// The volume in this file for us alone, made for so many MiB where there is none; `None`: another session has it.
///
/// # Errors
/// When it cannot be made, or is not a file of ours alone.
pub fn hold(file: &Path, mib: u64) -> Result<Option<Held>> {
    hold_made(file, &|aside, opened| {
        opened.set_len(mib << 20).what(|| format!("cannot make {}", file.display()))?;
        image::make_volume(aside)
    })
}

/// The lock in this file, which is made where there is none; `None`: another session has it.
///
/// # Errors
/// As [`hold`].
pub(super) fn hold_lock(file: &Path) -> Result<Option<Held>> {
    hold_made(file, &|_, _| Ok(()))
}

fn hold_made(file: &Path, fill: &dyn Fn(&Path, &File) -> Result<()>) -> Result<Option<Held>> {
    let end = Instant::now() + PATIENCE;
    loop {
        let Some(opened) = open(file)? else {
            make(file, fill)?;
            continue;
        };
        match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
            // Somebody may have removed it while we opened it.
            Ok(held) if is_there(file, &held) => return Ok(Some(Held(held))),
            Ok(_) => {}
            Err(_) if Instant::now() > end => return Ok(None),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// The file, if it is there.
fn open(file: &Path) -> Result<Option<File>> {
    let what = || format!("cannot open {}", file.display());
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let opened = match File::options().read(true).write(true).custom_flags(flags).open(file) {
        Ok(opened) => opened,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::new(what()).because(e).next(format!("ls -l {}", files::quoted(file)))),
    };
    let meta = opened.metadata().what(what)?;
    files::check_private(file, &meta)?;
    match meta.is_file() {
        true => Ok(Some(opened)),
        false => {
            Err(Failure::refused(what()).because("it is not a file").next(format!("ls -l {}", files::quoted(file))))
        }
    }
}

fn is_there(path: &Path, opened: &File) -> bool {
    let id = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
    let (there, ours) = (std::fs::symlink_metadata(path), opened.metadata());
    matches!((there, ours), (Ok(there), Ok(ours)) if id(&there) == id(&ours))
}

/// Makes it aside, so that what has its name is whole.
fn make(file: &Path, fill: &dyn Fn(&Path, &File) -> Result<()>) -> Result<()> {
    let what = || format!("cannot make {}", file.display());
    let dir = file.parent().unwrap_or(Path::new("/"));
    private_dir(dir)?;
    let _lock = files::lock_within(&dir.join(LOCK), files::LOCK_LIMIT)?;
    if file.exists() {
        return Ok(());
    }
    let aside = file.with_extension(NEW);
    let _ = std::fs::remove_file(&aside);
    let opened = File::options().write(true).create_new(true).mode(0o600).open(&aside).what(what)?;
    let made = fill(&aside, &opened);
    let made = made.and_then(|()| opened.sync_all().and_then(|()| std::fs::rename(&aside, file)).what(what));
    if made.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    made
}

/// A volume as others see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// The project that it is of, as its state is called.
    #[serde(skip)]
    pub project: String,
    /// The file.
    pub file: PathBuf,
    /// The most that it can hold, in bytes.
    pub size: u64,
    /// What it takes of the host's disk now, in bytes.
    pub allocated: u64,
    /// Whether a session has it.
    pub in_use: bool,
    /// What Apple's `container` calls it, where that keeps it.
    #[serde(skip)]
    pub name: Option<String>,
}

/// What a person may type when the volume in this file is damaged.
pub(super) fn remedy(file: &Path) -> String {
    if file.extension().is_some_and(|e| e == LOCK_ENDING) {
        return "vmclaude prune --volumes   # with everything in it".to_owned();
    }
    format!("e2fsck -f {}   # or: vmclaude prune --volumes", files::quoted(file))
}

/// Looks at the volume in this file; `None`: there is none.
fn look(file: &Path) -> Option<Seen> {
    let meta = std::fs::symlink_metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    let project = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (size, allocated) = (meta.len(), meta.blocks() * 512);
    Some(Seen { project, file: file.to_path_buf(), size, allocated, in_use: is_held(file)?, name: None })
}

/// Whether somebody holds the lock of this file; `None`: there is none, or it is not ours.
pub(super) fn is_held(file: &Path) -> Option<bool> {
    // Shared, and given back at once: a session that wants it at this moment waits for longer.
    open(file).ok()?.map(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}

/// All volumes, by name.
pub fn all(state: &Path) -> Vec<Seen> {
    let entries = std::fs::read_dir(dir(state)).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == ENDING)).collect();
    files.sort();
    files.iter().filter_map(|file| look(file)).collect()
}

/// Removes a volume that no session has; whether that was so.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(file: &Path) -> Result<bool> {
    let Some(opened) = open(file)? else { return Ok(true) };
    let Ok(held) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) else { return Ok(false) };
    if is_there(file, &held) {
        std::fs::remove_file(file).what(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(true)
}

/// Removes the file of a lock that is held: whoever waits for it makes another.
pub(super) fn discard_lock(file: &Path, held: Held) -> Result<()> {
    std::fs::remove_file(file).what(|| format!("cannot remove {}", file.display()))?;
    drop(held);
    Ok(())
}

/// Removes what somebody left who was killed while making one.
pub fn sweep(state: &Path) {
    let dir = dir(state);
    if !dir.is_dir() {
        return;
    }
    let Ok(Some(_lock)) = files::try_lock(&dir.join(LOCK)) else { return };
    for path in std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|e| e == NEW) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn one_holds_it_and_who_holds_it_keeps_it() -> Result<()> {
        let state = tempfile::tempdir().what(|| "tempdir")?;
        let file = path(state.path(), OsStr::new("0123"));
        assert!(look(&file).is_none() && all(state.path()).is_empty());
        let held = hold(&file, 1024)?.expect("nobody has it");
        let seen = look(&file).expect("it is there");
        assert!(seen.in_use && seen.size == 1 << 30 && seen.allocated < 32 << 20, "{seen:?}");
        assert_eq!(std::fs::metadata(&file).what(|| "stat")?.mode() & 0o7777, 0o600);
        assert!(hold(&file, 1024)?.is_none(), "somebody has it");
        assert!(!remove(&file)? && file.exists());
        drop(held);
        assert_eq!(all(state.path()), [Seen { in_use: false, ..seen }]);
        let again = hold(&file, 1024)?;
        assert!(again.is_some());
        drop(again);
        assert!(remove(&file)? && !file.exists() && remove(&file)?);
        Ok(())
    }

    #[test]
    fn what_inherits_it_holds_it() -> Result<()> {
        let state = tempfile::tempdir().what(|| "tempdir")?;
        let file = path(state.path(), OsStr::new("0123"));
        let held = hold(&file, 1024)?.expect("nobody has it");
        // As the machine's process does.
        let stdin = held.as_fd().try_clone_to_owned().what(|| "dup")?;
        let mut child = std::process::Command::new("/bin/sleep").arg("60").stdin(stdin).spawn().what(|| "sleep")?;
        // As when we are killed: it is closed, and nobody unlocks anything.
        nix::unistd::close(held.as_fd().as_raw_fd()).what(|| "close")?;
        std::mem::forget(held);
        assert!(hold(&file, 1024)?.is_none());
        let _ = child.kill().and_then(|()| child.wait());
        assert!(hold(&file, 1024)?.is_some());
        Ok(())
    }

    #[test]
    fn a_link_and_what_others_write_is_no_volume() -> Result<()> {
        let state = tempfile::tempdir().what(|| "tempdir")?;
        let file = path(state.path(), OsStr::new("0123"));
        drop(hold(&file, 1024)?);
        let moved = state.path().join("elsewhere");
        std::fs::rename(&file, &moved).what(|| "mv")?;
        std::os::unix::fs::symlink(&moved, &file).what(|| "ln")?;
        assert!(hold(&file, 1024).is_err() && look(&file).is_none());
        std::fs::remove_file(&file).what(|| "rm")?;
        std::fs::rename(&moved, &file).what(|| "mv")?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).what(|| "chmod")?;
        assert_eq!(hold(&file, 1024).err().map(|e| e.code), Some(crate::exit::REFUSED));
        Ok(())
    }

    #[test]
    fn what_was_left_half_made_is_in_nobodys_way() -> Result<()> {
        let state = tempfile::tempdir().what(|| "tempdir")?;
        let file = path(state.path(), OsStr::new("0123"));
        private_dir(&dir(state.path()))?;
        let (mine, other) = (file.with_extension("new"), file.with_file_name("4567.new"));
        for left in [&mine, &other] {
            std::fs::write(left, "half").what(|| "write")?;
        }
        assert!(hold(&file, 1024)?.is_some() && !mine.exists());
        sweep(state.path());
        assert!(!other.exists() && file.exists());
        Ok(())
    }
}
