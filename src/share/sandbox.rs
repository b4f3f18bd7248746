//! The place that the server works in: it sees the shared directories and nothing else of the host.
//!
//! The crate's own `Sandbox` does the same for one directory. It is not used, because it makes its user namespace and
//! changes its root in one step, so the root could only be assembled inside another user namespace around it; because it
//! wants a fresh procfs, which containers with a masked /proc refuse; and because its processes are tied together by
//! SIGTERM, which the first process of a namespace does not obey.

use super::Mount;
use crate::error::{Context, Failure, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid, pivot_root};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use virtiofsd::oslib;

const CLONE: u32 = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
const HARMLESS: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Whose files the server can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those of the user who started it, as the kernel decides.
    User,
    /// Everybody's: it was started by real root.
    Everyone,
}

/// Leaves the host's namespaces: mounts, network, System V objects, and for the next child processes.
///
/// # Errors
/// When the kernel or its policy forbids it, with the command that allows it.
pub(super) fn leave_namespaces() -> Result<Reach> {
    let spaces =
        CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWPID;
    // Root of a container may lack the capability and still be allowed to make a user namespace.
    if geteuid().is_root() && unshare(spaces).is_ok() {
        return Ok(Reach::Everyone);
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(spaces | CloneFlags::CLONE_NEWUSER).map_err(|e| forbidden(&e.to_string()))?;
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("{uid} {uid} 1")),
        ("gid_map", format!("{gid} {gid} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(|e| forbidden(&format!("{file}: {e}")))?;
    }
    // A new user namespace would give all capabilities back, if only inside it. Of no consequence where it is forbidden.
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    Ok(Reach::User)
}

fn forbidden(why: &str) -> Failure {
    let failure = Failure::new("cannot lock the share server in").because(format!("no namespaces for you: {why}"));
    let switches = [
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        ("/proc/sys/user/max_user_namespaces", "0", "15000"),
    ];
    let set = |(file, bad, good): (&str, &str, &str)| {
        let now = std::fs::read_to_string(file).ok().filter(|now| now.trim() == bad)?;
        let name = file.trim_start_matches("/proc/sys/").replace('/', ".");
        Some((format!("{name} is {}", now.trim()), format!("sudo sysctl -w {name}={good}")))
    };
    match switches.into_iter().find_map(set) {
        Some((why, next)) => failure.because(why).next(next),
        None => failure.next("docker run --privileged …, if this is a container"),
    }
}

/// Makes a root of the shared directories, goes there for good, and returns this process's `/proc/self/fd`.
///
/// # Errors
/// When a directory is not the one that was opened any more, or a mount fails.
pub(super) fn enter(mounts: &[Mount]) -> Result<File> {
    // What the host mounts later still shows up in the share, and an unmount there is refused only while the guest has
    // files of it, as for any other program; our own mounts reach nobody.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .what(|| "cannot detach from the host's mounts")?;
    // Cloned, so that ".." ends there and does not lead through /proc to the roots of other processes.
    let fds = clone_tree("/proc/self/fd", CLONE).what(|| "cannot open /proc/self/fd")?;
    let trees = mounts.iter().map(|m| Ok((m.tag.as_str(), tree(m)?))).collect::<Result<Vec<_>>>()?;
    assemble(&trees).what(|| "cannot assemble the share")?;
    // The idiom of pivot_root(2): the old root lies on top of the new one, until it is taken away.
    pivot_root(".", ".").what(|| "cannot change to the share")?;
    umount2(".", MntFlags::MNT_DETACH).what(|| "cannot leave the host's root")?;
    std::env::set_current_dir("/").what(|| "cannot enter the share")?;
    Ok(fds)
}

/// A detached copy of the mounts at and below a directory of the configuration.
fn tree(mount: &Mount) -> Result<File> {
    let what = || format!("cannot share {}", mount.tag);
    let opened = format!("/proc/self/fd/{}", mount.dir);
    // The descriptor belongs to the mounts of the process that opened it, and only our own can be copied. So the path is
    // looked up again, and counts only if it leads to the same directory.
    let path = std::fs::read_link(&opened).what(what)?;
    let here = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(&path)
        .what(|| format!("cannot share {}", path.display()))?;
    let (was, is) = (std::fs::metadata(&opened).what(what)?, here.metadata().what(what)?);
    if (was.dev(), was.ino()) != (is.dev(), is.ino()) {
        return Err(Failure::refused(format!("cannot share {}", path.display()))
            .because("it was replaced by another directory just now")
            .next("try again"));
    }
    let again = format!("/proc/self/fd/{}", here.as_raw_fd());
    let tree = clone_tree(&again, CLONE | libc::AT_RECURSIVE.cast_unsigned()).what(what)?;
    let read_only = if mount.writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    restrict(tree.as_raw_fd(), HARMLESS | read_only, libc::AT_RECURSIVE).what(what)?;
    Ok(tree)
}

/// A small read-only root with one directory for each tree, as the current directory.
fn assemble(trees: &[(&str, File)]) -> io::Result<()> {
    // Any directory would do, in mounts that nobody else sees; this one exists everywhere and is not needed any more.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("share"), "/proc", Some("tmpfs"), flags, Some("mode=0755,size=64k"))?;
    std::env::set_current_dir("/proc")?;
    for (tag, tree) in trees {
        std::fs::create_dir(tag)?;
        let to = CString::new(*tag)?;
        oslib::move_mount(Some(tree), c"", None, &to, oslib::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    restrict(libc::AT_FDCWD, libc::MOUNT_ATTR_RDONLY, 0)
}

fn clone_tree(path: &str, flags: u32) -> io::Result<File> {
    let fd = oslib::open_tree(None, &CString::new(path)?, flags)?;
    // SAFETY: open_tree(2) just returned this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Adds attributes to the mount that `fd` is the root of, and with `AT_RECURSIVE` to those below it.
fn restrict(fd: RawFd, attributes: u64, flags: i32) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a C string, and the structure is of the size that is given and outlives the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor but 0, 1, 2 and these. The directories that were opened outside lead back to the host.
///
/// The caller owns none of those that are closed.
pub(super) fn close_all_but(keep: &[RawFd]) -> Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.cast_unsigned()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let starts = std::iter::once(3).chain(keep.iter().map(|fd| fd + 1));
    let ends = keep.iter().map(|fd| fd - 1).chain(std::iter::once(u32::MAX));
    for (first, last) in starts.zip(ends).filter(|(first, last)| first <= last) {
        // SAFETY: no memory is involved, and by this function's contract no owner of these descriptors is left.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error()).what(|| "cannot close inherited files");
        }
    }
    Ok(())
}

/// Gives up all capabilities but these, and every way to get one back.
pub(super) fn drop_capabilities(but: &[&str]) -> Result<()> {
    let what = || "cannot drop capabilities";
    capng::clear(capng::Set::BOTH);
    if !but.is_empty() {
        let sets = capng::Type::PERMITTED | capng::Type::EFFECTIVE;
        capng::updatev(capng::Action::ADD, sets, but.to_vec()).map_err(|e| format!("{e:?}")).what(what)?;
    }
    capng::apply(capng::Set::BOTH).map_err(|e| format!("{e:?}")).what(what)?;
    nix::sys::prctl::set_no_new_privs().what(what)
}
