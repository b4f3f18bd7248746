//! What the host's start message asks for: clock, entropy, share, user, links.

use crate::sys::{SAFE, at, make_dir, mount_on, reseed};
use crate::trust::{self, Known};
use crate::{Place, ahead, approve, container, local};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vmclaude_init::wire::proto::Start;

/// The name under which the host's share is offered.
const SHARE: &str = "vmclaude";
/// Where the share's root is mounted.
pub(crate) const SHARE_DIR: &str = "/run/vmclaude/host/share";
/// What makes the kernel look at the bus behind the port that the share is plugged into; there is no other bus but the first.
const PLUGGED: &str = "/sys/class/pci_bus/0000:01/rescan";
/// The guest's user.
const USER: &str = "claude";
/// Where the project is.
pub(crate) const WORKSPACE: &str = "/workspace";
/// The guest user's home.
const HOME: &str = "/home/claude";

/// The ids that the user most often has: the first user's of a Debian system, and those that stand for the host's root.
pub(crate) const USUAL: (u32, u32) = (1000, 1000);

/// What is the same in every session, or nearly always; done before the host says anything.
pub(crate) fn prepare(place: Place) -> io::Result<()> {
    // A container has the name that the system gave it.
    if place == Place::Machine {
        nix::unistd::sethostname("vmclaude")?;
    }
    write("/etc/hostname", "vmclaude\n")?;
    // Or every `sudo` would wait for an answer to the question who that is.
    let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let also = if name == "vmclaude" { String::new() } else { format!(" {name}") };
    write("/etc/hosts", &format!("127.0.0.1 localhost vmclaude{also}\n::1 localhost\n"))?;
    match place {
        Place::Machine => ahead::prepare(USUAL)?,
        Place::Container => make_dir(Path::new(WORKSPACE))?,
    }
    add_user(USUAL)
}

/// Seed and clock, before anything else that the host asks for: this machine may be one of many copies, and nothing may draw the
/// random numbers that the others draw.
pub(crate) fn make_unique(place: Place, start: &Start) -> io::Result<()> {
    match place {
        Place::Machine => {
            reseed(&start.seed)?;
            set_clock(start.now.0, start.now.1)?;
        }
        // The system seeds it; more does no harm, and is not counted. It sets the clock too, now and then.
        Place::Container => {
            std::fs::write("/dev/urandom", &start.seed)?;
            if let Err(e) = set_clock(start.now.0, start.now.1) {
                crate::sys::log(&format!("the clock: {e}"));
            }
        }
    }
    Ok(())
}

/// Does all else that the host asks for, or says what could not be done.
pub(crate) fn apply(place: Place, start: &Start, known: Option<Known>) -> io::Result<()> {
    if start.user != USUAL {
        add_user(start.user)?;
    }
    for (file, bytes) in &start.system {
        std::fs::write(path(file), bytes).map_err(|e| at("cannot write", path(file), e))?;
    }
    trust::add(&start.certificates, known)?;
    match place {
        Place::Machine => bind_shares(start)?,
        Place::Container => container::check_mounts(start)?,
    }
    start.links.iter().for_each(|(from, to)| link(path(from), path(to)));
    for (nth, dir) in start.own.iter().enumerate() {
        match place {
            Place::Machine => own(nth, path(dir), start.user)?,
            Place::Container => container::own(path(dir), start.user)?,
        }
    }
    for (file, bytes) in &start.seeds {
        seed(path(file), bytes, start.user).map_err(|e| at("cannot make", path(file), e))?;
    }
    if let Some((file, end)) = &start.approve
        && let Err(e) = approve::approve(path(file), end, start.user)
    {
        crate::sys::log(&format!("Claude Code will ask about the key: {e}"));
    }
    Ok(())
}

/// Sets the clock: seconds and nanoseconds since 1970.
pub(crate) fn set_clock(seconds: u64, nanos: u32) -> io::Result<()> {
    Ok(clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds as _, i64::from(nanos)))?)
}

/// Lets our own disks grow no more, or again. Everything that is free becomes a reserve that nobody may use, so whoever
/// writes more is told that there is no space left, as on a full disk.
pub(crate) fn hold_disk(full: bool) -> io::Result<()> {
    hold("vdc", "/", full)?;
    match Path::new(local::VOLUME).exists() {
        true => hold(local::DEVICE, local::VOLUME, full),
        false => Ok(()),
    }
}

fn hold(device: &str, mounted: &str, full: bool) -> io::Result<()> {
    let reserved = format!("/sys/fs/ext4/{device}/reserved_clusters");
    let disk = nix::sys::statvfs::statvfs(mounted)?;
    let clusters = if full { disk.blocks().saturating_sub(1) } else { 0 };
    std::fs::write(&reserved, clusters.to_string()).map_err(|e| at("cannot write", Path::new(&reserved), e))
}

/// Brings everything that was written to the host: through a mapping, too.
pub(crate) fn settle(place: Place, start: &Start) {
    match place {
        Place::Machine => {
            if start.local.is_some() {
                local::settle();
            }
            unmount_shares(start);
        }
        Place::Container => {
            if start.local.is_some() {
                local::settle();
            }
            nix::unistd::sync();
        }
    }
}

/// Unmounts the share: a file that is mapped is then written.
fn unmount_shares(start: &Start) {
    for dir in &start.own {
        let _ = umount2(path(dir), MntFlags::MNT_DETACH);
    }
    let root = (!start.binds.is_empty()).then_some(Path::new(SHARE_DIR));
    for target in start.binds.iter().rev().map(|(_, target, _)| path(target)).chain(root) {
        if let Err(e) = umount2(target, MntFlags::empty()) {
            crate::sys::log(&format!("cannot unmount {}: {e}", target.display()));
            let _ = umount2(target, MntFlags::MNT_DETACH);
        }
    }
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn write(file: &str, text: &str) -> io::Result<()> {
    std::fs::write(file, text).map_err(|e| at("cannot write", Path::new(file), e))
}

fn bind_shares(start: &Start) -> io::Result<()> {
    if start.binds.is_empty() {
        return Ok(());
    }
    let share = Path::new(SHARE_DIR);
    mount_on(SHARE, share, "virtiofs", SAFE, "")?;
    // It stays, for what repeats the host's changes; programs see the binds.
    std::fs::set_permissions(share.parent().unwrap_or(share), std::fs::Permissions::from_mode(0o700))?;
    for (tag, target, writable) in &start.binds {
        mount_on_bind(&share.join(tag), path(target), *writable)?;
    }
    Ok(())
}

/// Has the kernel look what is plugged into the machine's one port, and start the drivers of what it finds.
pub(crate) fn look_at_port() -> io::Result<()> {
    std::fs::write(PLUGGED, "1").map_err(|e| at("cannot write", Path::new(PLUGGED), e))
}

/// What is bound is as the share was mounted, without devices and set-id; a mount point is made where there is none.
fn mount_on_bind(source: &Path, target: &Path, writable: bool) -> io::Result<()> {
    let none: Option<&str> = None;
    let bind = || mount(Some(source), target, none, MsFlags::MS_BIND, none);
    not_a_link(target);
    if bind() == Err(Errno::ENOENT) {
        make_dir(target)?;
        bind().map_err(|e| at("cannot bind", target, e))?;
    }
    if writable {
        return Ok(());
    }
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY;
    mount(none, target, none, flags, none).map_err(|e| at("cannot bind", target, e))
}

/// Makes the guest's user, replacing whoever had the name or the number.
fn add_user((uid, gid): (u32, u32)) -> io::Result<()> {
    replace_line("/etc/passwd", USER, Some(uid), &format!("{USER}:x:{uid}:{gid}:Claude:{HOME}:/bin/bash"))?;
    replace_line("/etc/group", USER, Some(gid), &format!("{USER}:x:{gid}:"))?;
    replace_line("/etc/shadow", USER, None, &format!("{USER}:*:20000:0:99999:7:::"))?;
    make_dir(Path::new(HOME))
}

fn replace_line(file: &str, name: &str, id: Option<u32>, line: &str) -> io::Result<()> {
    let id = id.map(|id| id.to_string());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let other = |l: &&str| {
        let mut fields = l.split(':');
        fields.next() != Some(name) && (id.is_none() || fields.nth(1) != id.as_deref())
    };
    if text.lines().any(|l| l == line) && text.lines().filter(|l| !other(l)).count() == 1 {
        return Ok(()); // Writing it again would cost a copy of the file.
    }
    let mut lines: Vec<&str> = text.lines().filter(other).collect();
    lines.push(line);
    write(file, &(lines.join("\n") + "\n"))
}

/// A mount point may lie in a directory that the guest's user writes: what is mounted there must not land elsewhere.
fn not_a_link(target: &Path) {
    if std::fs::symlink_metadata(target).is_ok_and(|meta| meta.is_symlink()) {
        let _ = std::fs::remove_file(target);
    }
}

/// A socket that the user, and nobody else, can connect to.
pub(crate) fn agent_socket(file: &[u8], (uid, gid): (u32, u32)) -> io::Result<tokio::net::UnixListener> {
    let file = path(file);
    make_dir(file.parent().unwrap_or(Path::new("/")))?;
    let listener = tokio::net::UnixListener::bind(file).map_err(|e| at("cannot listen at", file, e))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(file, Some(uid), Some(gid))?;
    Ok(listener)
}

/// A directory of this machine's own, in memory.
fn own(nth: usize, dir: &Path, user: (u32, u32)) -> io::Result<()> {
    mount_on_bind(&ahead::own(nth, user)?, dir, true)
}

/// Makes a file of the user's, whole or not at all, unless there is one.
fn seed(file: &Path, bytes: &[u8], (uid, gid): (u32, u32)) -> io::Result<()> {
    if std::fs::symlink_metadata(file).is_ok() {
        return Ok(());
    }
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    // Another machine may do the same in the same directory at the same time.
    name.push(format!(".{:x}", nix::time::clock_gettime(ClockId::CLOCK_REALTIME)?.tv_nsec()));
    let aside = file.with_file_name(name);
    let mut to = File::options().write(true).create_new(true).mode(0o600).open(&aside)?;
    to.write_all(bytes)?;
    let _ = std::os::unix::fs::lchown(&aside, Some(uid), Some(gid));
    let made = std::fs::hard_link(&aside, file);
    std::fs::remove_file(&aside)?;
    made.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
}

/// Makes a link where nothing is. A link is a convenience: what is in its way stays. One that would lead nowhere is not
/// made, and is taken away if it was made when it led somewhere.
fn link(from: &Path, to: &Path) {
    if to.symlink_metadata().is_err() {
        if std::fs::read_link(from).is_ok_and(|there| there == to) {
            let _ = std::fs::remove_file(from);
        }
        return;
    }
    if std::fs::read_link(from).is_ok_and(|there| there == to) {
        return;
    }
    let parent: PathBuf = from.parent().map(Path::to_path_buf).unwrap_or_default();
    if let Err(e) = make_dir(&parent).and_then(|()| symlink(to, from)) {
        crate::sys::log(&format!("no link {}: {e}", from.display()));
    }
}
