//! A file as memory: several threads can fill it at once, which they cannot by writing, because the kernel then lets one in at a time.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// All of a file, mapped until it is dropped.
pub(super) struct Mapped {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: the mapping is this value's alone, and belongs to no thread.
unsafe impl Send for Mapped {}
// SAFETY: through a shared one nothing is reached but by `part`, whose callers see to it.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `file`, which must not become shorter meanwhile.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new(file: &File) -> io::Result<Mapped> {
        let len = NonZeroUsize::new(usize::try_from(file.metadata()?.size()).unwrap_or(0));
        let len = len.ok_or(io::ErrorKind::InvalidInput)?;
        let read_write = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it.
        let start = unsafe { mmap(None, len, read_write, MapFlags::MAP_SHARED, file, 0)? };
        Ok(Mapped { start, len: len.get() })
    }

    /// A part of it; `None`: it is not that long.
    ///
    /// # Safety
    /// Nobody else may have this part or some of it, and nobody else may write to it.
    #[allow(clippy::mut_from_ref)] // By the caller's word.
    pub(super) unsafe fn part(&self, from: u64, len: usize) -> Option<&mut [u8]> {
        let from = usize::try_from(from).ok()?;
        from.checked_add(len).filter(|end| *end <= self.len)?;
        // SAFETY: it lies in the mapping, which lives as long as `self`; that it is nobody else's is the caller's word.
        Some(unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u8>().as_ptr().add(from), len) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and so is whatever was borrowed of it.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_is_put_into_a_part_is_in_the_file_and_nothing_beyond_it_can_be_had() {
        let file = tempfile::tempfile().expect("file");
        assert!(Mapped::new(&file).is_err(), "it is empty");
        file.set_len(10_000).expect("len");
        let mapped = Mapped::new(&file).expect("map");
        // SAFETY: the only part.
        let part = unsafe { mapped.part(5000, 5000) }.expect("there");
        assert!(crate::os::populate(part).is_ok());
        part[1..6].copy_from_slice(b"bytes");
        let mut seen = [0; 5];
        file.read_exact_at(&mut seen, 5001).expect("read");
        assert_eq!(&seen, b"bytes");
        for (from, len) in [(5000, 5001), (10_001, 0), (u64::MAX, 2)] {
            // SAFETY: as above.
            assert!(unsafe { mapped.part(from, len) }.is_none(), "{from} {len}");
        }
    }
}
