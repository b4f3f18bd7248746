//! Which directory this is, whatever it is called: a name can be moved, replaced or reached by another way.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A directory's identity. Survives renames and reboots; a directory made anew in its place has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The file system's own id: `st_dev` is a number of this boot only. 0 where the file system has none.
    pub fs: u64,
    /// The inode.
    pub ino: u64,
    /// Nanoseconds from 1970 to the directory's making. 0 where the file system does not keep it.
    pub birth: u64,
}

impl Identity {
    /// Bytes of [`Identity::text`]: three numbers of sixteen hexadecimal digits and two colons.
    pub const TEXT: usize = 50;

    /// The identity of the directory `path`, links followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Identity> {
        let meta = std::fs::metadata(path)?;
        Ok(Identity { fs: fs_id(path)?, ino: meta.ino(), birth: birth(&meta) })
    }

    /// The identity of a directory that is open: of itself, whatever its path leads to by now.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn of_open(dir: &File) -> io::Result<Identity> {
        let meta = dir.metadata()?;
        Ok(Identity { fs: open_fs_id(dir)?, ino: meta.ino(), birth: birth(&meta) })
    }

    /// Fixed width, so that a reader of ten thousand lines finds the path behind it without searching.
    pub fn text(&self) -> String {
        format!("{:016x}:{:016x}:{:016x}", self.fs, self.ino, self.birth)
    }

    /// Reads back [`Identity::text`]; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Identity> {
        let text = std::str::from_utf8(text).ok().filter(|t| t.len() == Self::TEXT)?;
        let mut numbers = text.split(':').map(|n| match n.len() {
            16 => u64::from_str_radix(n, 16).ok(),
            _ => None,
        });
        let id = Identity { fs: numbers.next()??, ino: numbers.next()??, birth: numbers.next()?? };
        // from_str_radix takes signs and capitals; there is one spelling only.
        (id.text() == text).then_some(id)
    }

    /// Whether the directory at an enrolled path is still the one that was enrolled there.
    ///
    /// With a birth time the file system's id need not agree: XFS makes it from the device number, which changes over
    /// reboots, and nobody chooses a directory's inode and its birth to the nanosecond.
    pub fn same_as(&self, enrolled: &Identity) -> bool {
        self.ino == enrolled.ino && self.birth == enrolled.birth && (self.fs == enrolled.fs || self.birth != 0)
    }

    /// Whether an inode is more than a small number that many file systems have, so that it may be recognised at a path
    /// that nobody enrolled.
    pub fn is_distinctive(&self) -> bool {
        self.fs != 0 || self.birth != 0
    }
}

/// The one path of what `path` names: absolute, links resolved, and spelled as its directories spell it, where a file system
/// takes other spellings too (case, accents, the other side of a firmlink).
///
/// # Errors
/// When it is not there or cannot be reached.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    let real = std::fs::canonicalize(path)?;
    Ok(spelled(&real).unwrap_or(real))
}

/// The longest path that the system writes, its last zero included.
#[cfg(any(target_os = "macos", test))]
const LONGEST: usize = 1024;

#[cfg(target_os = "macos")]
fn spelled(path: &Path) -> Option<PathBuf> {
    spelled_by(path, |file, text| {
        // SAFETY: the descriptor is open, and the buffer is as long as the longest path that the call writes.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETPATH, text.as_mut_ptr()) == 0 }
    })
}

#[cfg(target_os = "linux")]
fn spelled(_: &Path) -> Option<PathBuf> {
    None
}

/// What `ask` calls the directory at `path`, if that is still a path to it: the system answers from what it remembers of
/// names, and a name that leads elsewhere by now would be another tree's.
#[cfg(any(target_os = "macos", test))]
fn spelled_by(path: &Path, ask: impl FnOnce(&File, &mut [u8; LONGEST]) -> bool) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let opened = File::open(path).ok()?;
    let mut text = [0; LONGEST];
    let text = ask(&opened, &mut text).then(|| std::ffi::CStr::from_bytes_until_nul(&text).ok())??;
    let told = PathBuf::from(std::ffi::OsStr::from_bytes(text.to_bytes()));
    let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let same = std::fs::symlink_metadata(&told).ok().map(id) == opened.metadata().ok().map(id);
    (told.is_absolute() && same).then_some(told)
}

/// Nanoseconds since 1970, 0 when unknown.
pub(crate) fn birth(meta: &std::fs::Metadata) -> u64 {
    let since = meta.created().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    since.and_then(|d| u64::try_from(d.as_nanos()).ok()).unwrap_or(0)
}

#[cfg(target_os = "macos")]
use libc::{fstatfs as fstat_fs, statfs as stat_fs};
#[cfg(target_os = "linux")]
use libc::{fstatvfs as fstat_fs, statvfs as stat_fs};

/// The id of the file system that `path` lies on.
pub(crate) fn fs_id(path: &Path) -> io::Result<u64> {
    let path = crate::exec::c_string(path.as_os_str())?;
    // SAFETY: the structure is plain numbers and characters, for which all zeroes is a value.
    let mut buf: stat_fs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string and the buffer is one structure; both live through the call.
    let rc = unsafe { stat_fs(path.as_ptr(), &raw mut buf) };
    if rc == 0 { Ok(number(&buf)) } else { Err(io::Error::last_os_error()) }
}

fn open_fs_id(dir: &File) -> io::Result<u64> {
    // SAFETY: as above.
    let mut buf: stat_fs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the buffer is one structure; both live through the call.
    let rc = unsafe { fstat_fs(dir.as_raw_fd(), &raw mut buf) };
    if rc == 0 { Ok(number(&buf)) } else { Err(io::Error::last_os_error()) }
}

#[cfg(target_os = "linux")]
fn number(buf: &stat_fs) -> u64 {
    buf.f_fsid
}

#[cfg(target_os = "macos")]
fn number(buf: &stat_fs) -> u64 {
    // SAFETY: fsid_t is two 32-bit numbers whose fields the libc crate hides; any eight bytes are a u64.
    unsafe { (&raw const buf.f_fsid).cast::<u64>().read_unaligned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back_and_nothing_else_does() {
        let id = Identity { fs: 0xfeed, ino: 42, birth: u64::MAX };
        assert_eq!(id.text().len(), Identity::TEXT);
        assert_eq!(Identity::parse(id.text().as_bytes()), Some(id));
        for bad in
            ["", "1:2:3", &id.text().to_uppercase(), &id.text().replacen('0', "+", 1), &format!("{} ", id.text())]
        {
            assert_eq!(Identity::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_spelled_as_its_directories_spell_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().canonicalize().unwrap().join("CaSe");
        std::fs::create_dir(&made).unwrap();
        std::os::unix::fs::symlink(&made, dir.path().join("link")).unwrap();
        assert_eq!(real_path(&dir.path().join("link/../CaSe/.")).unwrap(), made);
        // Only where the file system takes the other spelling at all, as a Mac's usual one does.
        if let Ok(real) = real_path(&made.with_file_name("case")) {
            assert_eq!(real, made);
        }
    }

    /// As F_GETPATH answers.
    fn says(path: &Path) -> impl FnOnce(&File, &mut [u8; LONGEST]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes().to_vec();
        move |_, text| {
            text[..bytes.len()].copy_from_slice(&bytes);
            true
        }
    }

    #[test]
    fn what_the_system_calls_a_directory_counts_if_it_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let (made, other) = (top.join("CaSe"), top.join("other"));
        std::fs::create_dir(&made).unwrap();
        std::fs::create_dir(&other).unwrap();
        // The other side of a firmlink, and here what comes nearest: another path without a link to the same directory.
        let side = if cfg!(target_os = "macos") { "/System/Volumes/Data" } else { "/proc/self/root" };
        let behind = Path::new(side).join(made.strip_prefix("/").unwrap());
        assert_eq!(spelled_by(&behind, says(&made)), Some(made.clone()));
        assert_eq!(spelled_by(&made, says(&made)), Some(made.clone()));
        std::os::unix::fs::symlink(&made, top.join("link")).unwrap();
        for elsewhere in [&other, &top.join("gone"), &top.join("link"), Path::new("CaSe"), Path::new("")] {
            assert_eq!(spelled_by(&made, says(elsewhere)), None, "{}", elsewhere.display());
        }
        assert_eq!(spelled_by(&made, |_, _| false), None, "it cannot tell");
        assert_eq!(
            spelled_by(&made, |_, text| {
                text.fill(b'/');
                true
            }),
            None,
            "no end"
        );
        // It was moved between the two.
        let moved = spelled_by(&made, |file, text| {
            std::fs::rename(&made, top.join("moved")).unwrap();
            std::fs::rename(&other, &made).unwrap();
            says(&made)(file, text)
        });
        assert_eq!(moved, None, "another directory has its name");
    }

    #[test]
    fn a_new_directory_in_the_old_place_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        let first = Identity::of(&a).unwrap();
        std::fs::rename(&a, &b).unwrap();
        assert!(Identity::of(&b).unwrap().same_as(&first), "a move keeps it");
        std::fs::create_dir(&a).unwrap();
        assert!(!Identity::of(&a).unwrap().same_as(&first), "another directory has another one");
    }
}
