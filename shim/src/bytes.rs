//! A file's bytes: read when it is small, mapped when it is large.
//!
//! Copying a megabyte into fresh memory costs half a millisecond in page faults alone, which is the whole budget of a
//! decision among ten thousand trees.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

/// Below this a read is as fast.
const LARGE: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub enum Bytes {
    /// In memory of our own.
    Read(Vec<u8>),
    /// In the system's page cache.
    Mapped(Map),
}

/// A mapping of a whole file. The registry is only ever replaced by rename; should somebody cut it short in place all the
/// same, looking at the missing part kills this process, which is not the host's claude either.
#[derive(Debug)]
pub struct Map {
    at: NonNull<u8>,
    len: usize,
}

impl Bytes {
    /// The bytes of an open file of this length.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(file: &mut File, len: u64) -> io::Result<Bytes> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if len >= LARGE
            && let Some(map) = Map::new(file, len)
        {
            return Ok(Bytes::Mapped(map));
        }
        let mut bytes = Vec::with_capacity(len + 1);
        file.read_to_end(&mut bytes)?;
        Ok(Bytes::Read(bytes))
    }
}

impl Map {
    fn new(file: &File, len: usize) -> Option<Map> {
        #[cfg(target_os = "linux")]
        let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
        #[cfg(not(target_os = "linux"))]
        let flags = libc::MAP_PRIVATE;
        // SAFETY: a new mapping at an address of the system's choice touches no memory of ours.
        let at = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
        (at != libc::MAP_FAILED).then(|| NonNull::new(at.cast()).map(|at| Map { at, len }))?
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned, and nobody borrows from a value that is being dropped.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.len) };
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Read(bytes) => bytes,
            // SAFETY: the mapping is readable, `len` bytes long, and lives as long as `self`.
            Bytes::Mapped(map) => unsafe { std::slice::from_raw_parts(map.at.as_ptr(), map.len) },
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::Read(bytes)
    }
}
