//! The empty disk for what a guest writes beside the project: large for the guest, next to nothing on the host.

use super::tools::{Runner, tool};
use crate::error::{Context, Result};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// What the guest sees.
const SIZE: u64 = 64 << 30;

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
