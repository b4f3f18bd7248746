//! The VM's memory and its scratch disk: sparse, private, without a name.

use crate::error::{Context, Result};
use nix::unistd::Whence;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Copies what `template` holds, and its holes as holes, into a nameless file beside `dir`'s other files.
pub(crate) fn copy(template: &Path, dir: &Path) -> Result<File> {
    let what = || format!("cannot copy {}", template.display());
    let from = File::open(template).what(what)?;
    let to = nameless(dir)?;
    to.set_len(from.metadata().what(what)?.len()).what(what)?;
    copy_data(&from, &to).what(what)?;
    Ok(to)
}

/// Memory for a machine: a file of so many MiB that exists nowhere and takes up what is written to it.
#[cfg(target_os = "linux")]
pub(crate) fn memory(mib: u64) -> Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let what = || "cannot make the machine's memory";
    let file = File::from(memfd_create(c"vmclaude", MFdFlags::MFD_CLOEXEC).what(what)?);
    file.set_len(mib << 20).what(what)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn memory(_: u64) -> Result<File> {
    Err(crate::error::Failure::new("cannot make the machine's memory").because("QEMU is not used here"))
}

/// A file for reading and writing in `dir` that has no name.
#[cfg(target_os = "linux")]
pub(crate) fn nameless(dir: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_TMPFILE);
    options
        .open(dir)
        .or_else(|_| tempfile::tempfile_in(dir))
        .what(|| format!("cannot make a file in {}", dir.display()))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn nameless(dir: &Path) -> Result<File> {
    tempfile::tempfile_in(dir).what(|| format!("cannot make a file in {}", dir.display()))
}

fn copy_data(from: &File, to: &File) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    // ENXIO: no data behind this place.
    while let Ok(start) = nix::unistd::lseek(from, at, Whence::SeekData) {
        let end = nix::unistd::lseek(from, start, Whence::SeekHole)?;
        at = start;
        while at < end {
            let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            from.read_exact_at(&mut buffer[..want], at as u64)?;
            to.write_all_at(&buffer[..want], at as u64)?;
            at += want as i64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn data_and_holes_are_copied_and_no_name_is_left() {
        let dir = tempfile::tempdir().expect("dir");
        let template = dir.path().join("template");
        let file = File::create(&template).expect("create");
        file.set_len(1 << 30).expect("len");
        file.write_all_at(b"front", 0).expect("write");
        file.write_all_at(b"middle", 600 << 20).expect("write");
        let copy = copy(&template, dir.path()).expect("copy");
        let mut bytes = [0; 6];
        copy.read_exact_at(&mut bytes, 600 << 20).expect("read");
        assert_eq!((&bytes, copy.metadata().expect("meta").len()), (b"middle", 1 << 30));
        assert!(copy.metadata().expect("meta").blocks() < 100, "holes stay holes");
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }
}
