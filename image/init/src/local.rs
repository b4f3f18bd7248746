//! What of the project is on a disk of this machine's own: a volume that the host keeps for the project, or, while another
//! machine has that, the scratch disk. Each directory is bound over its name in the project. In a container of Apple's the
//! volume was mounted by the system; the rest is the same, and needs a right that is ours alone.
//!
//! Who had the volume before was hostile, perhaps with all of a guest's rights, and so was who last wrote into the project. So
//! no link is followed on either side, and what is mounted has neither devices nor set-id files.

use crate::Place;
use crate::sys::{AsUser, SAFE, at, log, make_dir, mount_on, mount_points, trim};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use vmclaude_init::wire::proto::{Start, ToHost};

/// The volume's name in the kernel: the fourth disk.
pub(crate) const DEVICE: &str = "vdd";
/// Where it is mounted, out of the user's reach.
pub(crate) const VOLUME: &str = "/run/vmclaude/host/volume";
/// Where directories are that are thrown away.
const THROWN_AWAY: &str = "/var/lib/vmclaude/local";
/// The project.
const WORKSPACE: &str = "/workspace";

const NOTHING: Option<&str> = None;

/// Bytes of the volume that were free when it was mounted.
static FREE: AtomicU64 = AtomicU64::new(0);
/// When so many more are free in the end, it is worth the second that it takes to give them back.
const WORTH: u64 = 16 << 20;
/// What is free in smaller pieces is not worth it.
const PIECE: u64 = 64 << 10;

/// The volume cannot be used.
#[derive(Debug)]
struct Damaged(String);

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damaged {}

/// Whether the error means that there is nothing wrong but the volume.
pub(crate) fn is_damaged(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<Damaged>())
}

fn damaged(e: io::Error) -> io::Error {
    io::Error::other(Damaged(e.to_string()))
}

/// Mounts what the host asks for. What comes back is for the host: directories that could not be had.
pub(crate) fn prepare(place: Place, start: &Start) -> io::Result<Vec<ToHost>> {
    let Some(local) = &start.local else { return Ok(Vec::new()) };
    // A directory that is thrown away is on the scratch disk, without which there is no machine.
    let blame = |e| if local.kept { damaged(e) } else { e };
    let disk = match (local.kept, place) {
        (false, _) => thrown_away()?,
        (true, Place::Machine) => volume().map_err(blame)?,
        (true, Place::Container) => mounted().map_err(blame)?,
    };
    let workspace = open(WORKSPACE)?;
    let mut news = Vec::new();
    for dir in &local.dirs {
        let source = own(&disk, dir, start.user).map_err(blame)?;
        if let Err(e) = beneath(&workspace, dir, start.user).and_then(|point| bind(&source, &point)) {
            news.push(ToHost::NotLocal(dir.clone(), e.to_string()));
        }
    }
    Ok(news)
}

/// The errors that the kernel has noted in the volume's file system.
pub(crate) fn errors() -> Option<ToHost> {
    // Whatever the kernel calls the disk: a container has others before it.
    let dev = std::fs::metadata(VOLUME).ok()?.dev();
    let disk = std::fs::read_link(format!("/sys/dev/block/{}:{}", libc::major(dev), libc::minor(dev))).ok()?;
    let name = disk.file_name()?.to_string_lossy();
    let count = std::fs::read_to_string(format!("/sys/fs/ext4/{name}/errors_count")).ok()?;
    let count = count.trim().parse().ok().filter(|count| *count > 0)?;
    Some(ToHost::VolumeErrors(count))
}

/// Unmounts all of it, so that the volume is whole. Nobody uses it any more.
pub(crate) fn settle() {
    for point in points(&std::fs::read("/proc/self/mountinfo").unwrap_or_default()) {
        let _ = umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    give_back();
    match umount2(VOLUME, MntFlags::empty()) {
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
        Err(e) => {
            log(&format!("cannot unmount {VOLUME}: {e}"));
            nix::unistd::sync();
        }
    }
}

/// The kernel tells the disk what was freed some seconds later, and not at all once the file system is unmounted.
fn give_back() {
    if free().saturating_sub(FREE.load(Ordering::Relaxed)) <= WORTH {
        return;
    }
    // What was removed is free once the journal says so.
    let done = open(VOLUME).and_then(|volume| {
        nix::unistd::syncfs(&volume)?;
        trim(volume, PIECE)
    });
    if let Err(e) = done {
        log(&format!("the volume: {e}"));
    }
}

/// Bytes that are free on the volume.
fn free() -> u64 {
    nix::sys::statvfs::statvfs(VOLUME).map_or(0, |fs| fs.blocks_free() * fs.fragment_size())
}

/// Where the system has mounted it; made as safe as our own mount is, and put out of the user's reach.
fn mounted() -> io::Result<OwnedFd> {
    let (dir, table) = (Path::new(VOLUME), std::fs::read("/proc/self/mountinfo")?);
    if !mount_points(&table).any(|point| point == dir) {
        return Err(io::Error::other(format!("the system did not mount {VOLUME}")));
    }
    std::fs::set_permissions(dir.parent().unwrap_or(dir), PermissionsExt::from_mode(0o700))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | SAFE | MsFlags::MS_NOATIME;
    mount(NOTHING, dir, NOTHING, flags, NOTHING).map_err(|e| at("cannot mount", dir, e))?;
    FREE.store(free(), Ordering::Relaxed);
    open(VOLUME)
}

fn volume() -> io::Result<OwnedFd> {
    let device = Path::new("/dev").join(DEVICE);
    // As on the scratch disk: what was never written reads as zeroes, and what is removed comes back to the host.
    let options = "noinit_itable,discard,errors=remount-ro";
    mount_on(&device.to_string_lossy(), Path::new(VOLUME), "ext4", SAFE | MsFlags::MS_NOATIME, options)?;
    FREE.store(free(), Ordering::Relaxed);
    open(VOLUME)
}

/// A mount of its own, because what is bound is as safe as what it is bound from.
fn thrown_away() -> io::Result<OwnedFd> {
    let dir = Path::new(THROWN_AWAY);
    make_dir(dir)?;
    let what = |e| at("cannot bind", dir, e);
    mount(Some(dir), dir, NOTHING, MsFlags::MS_BIND, NOTHING).map_err(what)?;
    mount(NOTHING, dir, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | SAFE, NOTHING).map_err(what)?;
    open(THROWN_AWAY)
}

fn open(dir: &str) -> io::Result<OwnedFd> {
    File::open(dir).map(OwnedFd::from).map_err(|e| at("cannot open", Path::new(dir), e))
}

/// A path as one name.
fn name(path: &[u8]) -> OsString {
    let mut name = Vec::new();
    for byte in path {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            other => name.push(*other),
        }
    }
    OsString::from_vec(name)
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The user's directory on the disk for this path.
fn own(disk: &OwnedFd, path: &[u8], (uid, gid): (u32, u32)) -> io::Result<OwnedFd> {
    let name = name(path);
    match mkdirat(disk, name.as_os_str(), Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(at("cannot make", Path::new(&name), e)),
    }
    let dir =
        openat(disk, name.as_os_str(), DIRECTORY, Mode::empty()).map_err(|e| at("cannot open", Path::new(&name), e))?;
    let FileStat { st_uid, st_gid, .. } = fstat(&dir)?;
    if (st_uid, st_gid) != (uid, gid) {
        fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(dir)
}

/// The directory at this path below `root`, reached through no link; what is missing is made.
fn beneath(root: &OwnedFd, path: &[u8], user: (u32, u32)) -> io::Result<OwnedFd> {
    let _user = AsUser::new(user);
    let mut dir = root.try_clone()?;
    for name in Path::new(OsStr::from_bytes(path)) {
        let open = || openat(&dir, name, DIRECTORY | OFlag::O_PATH, Mode::empty());
        let next = match open() {
            Err(Errno::ENOENT) => mkdirat(&dir, name, Mode::from_bits_truncate(0o755)).and_then(|()| open()),
            opened => opened,
        };
        dir = next.map_err(|e| match e {
            Errno::ENOTDIR | Errno::ELOOP => {
                io::Error::other(format!("{} is a link or a file", Path::new(name).display()))
            }
            e => at("cannot use", Path::new(name), e),
        })?;
    }
    Ok(dir)
}

/// By descriptors, so that nobody can move one of the two out of the way.
fn bind(source: impl AsFd, point: impl AsFd) -> io::Result<()> {
    let path = |fd: &dyn AsFd| format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(mount(Some(path(&source).as_str()), path(&point).as_str(), NOTHING, MsFlags::MS_BIND, NOTHING)?)
}

/// Every mount point below the project, the innermost first.
fn points(table: &[u8]) -> Vec<PathBuf> {
    let below = |point: &PathBuf| point.starts_with(WORKSPACE) && point != Path::new(WORKSPACE);
    let mut points: Vec<PathBuf> = mount_points(table).filter(below).collect();
    points.reverse();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_name_and_no_other_paths() {
        assert_eq!(name(b"a/b%2Fc"), "a%2Fb%252Fc");
        assert_ne!(name(b"a/b"), name(b"a%2Fb"));
        assert_eq!(name(b".venv"), ".venv");
    }

    #[test]
    fn mount_points_below_the_project_are_found_innermost_first() {
        let table = b"20 1 0:18 / / rw - overlay o rw\n21 20 0:19 /workspace /workspace rw - virtiofs v rw\n\
                      22 21 254:48 /a /workspace/a rw - ext4 /dev/vdd rw\n23 22 254:48 /b /workspace/a/b\\040c\\134 rw - ext4 /dev/vdd rw\n\
                      24 20 0:20 / /workspaces rw - tmpfs t rw\n";
        assert_eq!(points(table), ["/workspace/a/b c\\", "/workspace/a"].map(PathBuf::from));
    }

    #[test]
    fn only_a_volume_that_cannot_be_used_is_damaged() {
        assert!(is_damaged(&damaged(io::Error::other("Structure needs cleaning"))));
        assert!(!is_damaged(&io::Error::other("Structure needs cleaning")));
    }
}
