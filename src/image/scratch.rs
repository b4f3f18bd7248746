//! The empty disk for what a guest writes beside the project: large for the guest, next to nothing on the host.

use super::tools::{Runner, quietly, tool};
use crate::error::{Context, Failure, Result};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// What the guest sees.
const SIZE: u64 = 64 << 30;

/// Lifts what a shell has set for the size of its programs' files (`ulimit -f`), as far as that may be lifted: a machine's disks and memory
/// are files, and whoever makes one too large is ended by a signal. The programs for which it was set run in the guest.
///
/// # Errors
/// When it may not be lifted far enough.
pub fn allow_large_files() -> Result<()> {
    let what = "cannot make files as large as a machine's";
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).what(|| what)?;
    if hard < SIZE {
        return Err(Failure::new(what)
            .because(format!("the limit is {hard} bytes, the largest takes {SIZE}"))
            .next("ulimit -f unlimited   # in a new terminal"));
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).what(|| what)?;
    }
    Ok(())
}

/// Makes an empty ext4 file system without a journal: it never outlives its VM. Nothing in it is left for the guest's
/// kernel to initialize, which would fill the host's disk in the background.
///
/// # Errors
/// When it cannot be written.
pub(super) fn make(run: &Runner<'_>, path: &Path) -> Result<()> {
    let what = || "cannot make the scratch disk";
    let file = File::create(path).what(what)?;
    file.set_len(SIZE).what(what)?;
    let mut mkfs = tool("mkfs.ext4")?;
    mkfs.args(["-q", "-F", "-m", "0", "-i", "32768", "-O", "^has_journal,^resize_inode"]);
    mkfs.args(["-E", "nodiscard,lazy_itable_init=0,packed_meta_blocks=1,root_owner=0:0"]).arg(path);
    run.run(&mut mkfs, "make the scratch disk", Duration::from_secs(120))?;
    file.sync_all().what(what)?;
    punch_holes(&file).what(what)
}

/// Makes an empty ext4 file system in this file, which has its size already. It outlives its VMs, so it has a journal, a small
/// one: what was once written of it stays allocated.
///
/// # Errors
/// When there is no mkfs.ext4 (package e2fsprogs), or it fails.
pub fn make_volume(path: &Path) -> Result<()> {
    let package = "sudo apt-get install e2fsprogs";
    let mut mkfs = tool("mkfs.ext4").map_err(|e| e.next(package))?;
    mkfs.args(["-q", "-F", "-m", "0", "-J", "size=32", "-O", "^resize_inode"]);
    mkfs.args(["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1,packed_meta_blocks=1,root_owner=0:0"]).arg(path);
    quietly(&mut mkfs, "make a volume", Duration::from_secs(60))
}

/// Gives back what mkfs allocated and never wrote: the tables of inodes, half a gigabyte.
fn punch_holes(file: &File) -> std::io::Result<()> {
    let (end, mut data) = (i64::try_from(SIZE).unwrap_or(i64::MAX), 0);
    while data < end {
        let hole = lseek(file, data, Whence::SeekHole)?;
        data = match lseek(file, hole, Whence::SeekData) {
            Err(Errno::ENXIO) => end,
            next => next?,
        };
        if hole < data {
            crate::os::punch_hole(file, hole, data - hole)?;
        }
    }
    Ok(())
}
