//! What a file was when it was built, and its digest.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a file was when it was built. Its digest is computed again only when one of the rest differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// SHA-256 of its bytes. Of `scratch.ext4`: of the positions and bytes of its blocks that are not zero.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
    /// Time of modification: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// Inode number.
    pub inode: u64,
}

impl Stamp {
    /// The stamp of this file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn of(path: &Path) -> std::io::Result<Stamp> {
        let sha256 = digest(path)?;
        let meta = std::fs::metadata(path)?;
        Ok(Stamp { sha256, size: meta.len(), mtime: (meta.mtime(), meta.mtime_nsec()), inode: meta.ino() })
    }

    /// Takes over what is known without reading the file.
    pub(super) fn see(&mut self, meta: &Metadata) {
        (self.mtime, self.inode) = ((meta.mtime(), meta.mtime_nsec()), meta.ino());
    }

    /// Whether this is still the file whose digest was computed.
    pub(super) fn looks_like(&self, meta: &Metadata) -> bool {
        self.mtime == (meta.mtime(), meta.mtime_nsec()) && self.inode == meta.ino()
    }
}

/// SHA-256 of a file; of a sparse one, of its blocks that are not zero and where they are, or it would take minutes.
///
/// # Errors
/// When it cannot be read.
pub(super) fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    let mut digest = Sha256::new();
    if path.extension().is_some_and(|e| e == "ext4") {
        digest_sparse(&file, meta.len(), &mut digest)?;
    } else {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => digest.update(&buffer[..n]),
            }
        }
    }
    Ok(format!("{:x}", digest.finalize()))
}

fn digest_sparse(file: &File, size: u64, digest: &mut Sha256) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    const BLOCK: u64 = 4096;
    let mut at = 0;
    let mut buffer = [0; BLOCK as usize];
    while at < size {
        let seek = nix::unistd::lseek(file, i64::try_from(at).unwrap_or(i64::MAX), nix::unistd::Whence::SeekData);
        at = match seek {
            Err(nix::errno::Errno::ENXIO) => break,
            found => u64::try_from(found?).unwrap_or(size) / BLOCK * BLOCK,
        };
        let n = file.read_at(&mut buffer, at)?;
        if buffer[..n].iter().any(|b| *b != 0) {
            digest.update(at.to_le_bytes());
            digest.update(&buffer[..n]);
        }
        at += BLOCK;
    }
    Ok(())
}
