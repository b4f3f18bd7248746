//! What a session needs and what does not depend on which one it is: made before the host says anything, and so part of a
//! template. All of it is memory, because a new file on the root is dear: under emulation what counts
//! is how much of the kernel runs for the first time, and that takes the overlay, the file system below it, and its disk.

use crate::sys::{SAFE, at, make_dir, mount_on};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// Files of the system that a session brings, and where they are then. The image has neither of them.
const BROUGHT: [(&str, &str); 2] =
    [("/etc/gitconfig", "/run/vmclaude/etc/gitconfig"), ("/etc/resolv.conf", "/run/vmclaude/etc/resolv.conf")];
/// Where the host mounts, as far as the share does not have it; whatever is missing is made by the session.
const POINTS: [&str; 3] = ["/workspace", "/var/lib/vmclaude/login", "/var/lib/vmclaude/shared"];
/// Where directories are that a session has for itself.
const OWN: &str = "/run/vmclaude/host/own";
/// So many of them are made.
const OWNED: usize = 8;

/// Makes it. `user`: whose the directories are.
pub(crate) fn prepare(user: (u32, u32)) -> io::Result<()> {
    // The project's path on the host becomes a link, and most projects lie below somebody's home.
    mount_on("tmpfs", Path::new("/home"), "tmpfs", SAFE, "mode=0755")?;
    POINTS.iter().try_for_each(|point| make_dir(Path::new(point)))?;
    for (file, place) in BROUGHT.map(|(file, place)| (Path::new(file), Path::new(place))) {
        make_dir(place.parent().unwrap_or(place))?;
        // The image may have a link here, to a place that does not exist in it.
        let _ = std::fs::remove_file(file);
        symlink(place, file).map_err(|e| at("cannot make", file, e))?;
    }
    mount_on("tmpfs", Path::new(OWN), "tmpfs", SAFE, "mode=0700,size=256m")?;
    (0..OWNED).try_for_each(|nth| own(nth, user).map(drop))
}

/// Looks it up, so that it is found again without the disk.
pub(crate) fn touch() {
    let files = BROUGHT.iter().map(|(file, _)| file);
    files.chain(&POINTS).for_each(|path| drop(Path::new(path).symlink_metadata()));
    BROUGHT.iter().for_each(|(file, _)| drop(std::fs::read_link(file)));
}

/// The `nth` directory that a session has for itself.
pub(crate) fn own(nth: usize, (uid, gid): (u32, u32)) -> io::Result<PathBuf> {
    let dir = Path::new(OWN).join(nth.to_string());
    if dir.metadata().is_ok_and(|meta| (meta.uid(), meta.gid()) == (uid, gid)) {
        return Ok(dir);
    }
    make_dir(&dir)?;
    chown(&dir, Some(uid), Some(gid)).map_err(|e| at("cannot hand over", &dir, e))?;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700))?;
    Ok(dir)
}
