//! What the host's start message asks for: clock, entropy, share, user, links.

use crate::sys::{at, make_dir, mount_on, reseed};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use vmclaude_init::wire::proto::Start;

/// The name under which the host's share is offered.
const SHARE: &str = "vmclaude";
/// The guest's user.
const USER: &str = "claude";
/// The guest user's home.
const HOME: &str = "/home/claude";

/// Does all of it, or says what could not be done.
pub(crate) fn apply(start: &Start) -> io::Result<()> {
    let (seconds, nanos) = start.now;
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds as _, i64::from(nanos)))?;
    reseed(&start.seed)?;
    nix::unistd::sethostname("vmclaude")?;
    write("/etc/hostname", "vmclaude\n")?;
    write("/etc/hosts", "127.0.0.1 localhost vmclaude\n::1 localhost\n")?;
    add_user(start.user)?;
    bind_shares(start)?;
    start.links.iter().for_each(|(from, to)| link(path(from), path(to)));
    Ok(())
}

/// Unmounts the share, so that everything written through a mapping is on the host.
pub(crate) fn unmount_shares(start: &Start) {
    for (_, target, _) in start.binds.iter().rev() {
        if let Err(e) = umount2(path(target), MntFlags::empty()) {
            crate::sys::log(&format!("cannot unmount {}: {e}", path(target).display()));
            let _ = umount2(path(target), MntFlags::MNT_DETACH);
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
    let share = Path::new("/run/vmclaude/share");
    mount_on(SHARE, share, "virtiofs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "")?;
    for (tag, target, writable) in &start.binds {
        let target = path(target);
        make_dir(target)?;
        mount_on_bind(&share.join(tag), target, *writable)?;
    }
    // The binds stay; the assembled root need not be seen.
    umount2(share, MntFlags::MNT_DETACH).map_err(|e| at("cannot hide", share, e))
}

fn mount_on_bind(source: &Path, target: &Path, writable: bool) -> io::Result<()> {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none).map_err(|e| at("cannot bind", target, e))?;
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if !writable {
        flags |= MsFlags::MS_RDONLY;
    }
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
    let mut lines: Vec<&str> = text.lines().filter(other).collect();
    lines.push(line);
    write(file, &(lines.join("\n") + "\n"))
}

/// Makes a link where nothing is. A link is a convenience: what is in its way stays.
fn link(from: &Path, to: &Path) {
    let parent: PathBuf = from.parent().map(Path::to_path_buf).unwrap_or_default();
    if let Err(e) = make_dir(&parent).and_then(|()| symlink(to, from)) {
        crate::sys::log(&format!("no link {}: {e}", from.display()));
    }
}
