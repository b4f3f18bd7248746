//! The images that were built: each a directory with a manifest, one of them current.

use crate::error::{Context, Failure, Result};
use crate::files::write_atomic;
use crate::host::Dirs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The version of [`Manifest`]'s form.
pub const FORMAT: u32 = 1;
/// The command that mends whatever is wrong with an image.
const BUILD: &str = "vmclaude image build";
const MANIFEST: &str = "manifest.json";
const CURRENT: &str = "current";

/// What an image is made of, as written beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] of the program that wrote it.
    pub format: u32,
    /// The image's name: its directory.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Debian's name of the processor.
    pub arch: String,
    /// The digest of everything that the base system was made of.
    pub base_key: String,
    /// The kernel's version.
    pub kernel: String,
    /// Node.js's version.
    pub node: String,
    /// Claude Code's version.
    pub claude: String,
    /// Claude Code's package digest as npm words it.
    pub claude_integrity: String,
    /// The version of the wire that the supervisor inside speaks.
    pub wire: u16,
    /// The supervisor's SHA-256.
    pub supervisor: String,
    /// The files by name.
    pub files: BTreeMap<String, Stamp>,
}

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

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its directory.
    pub dir: PathBuf,
    /// What it is made of.
    pub manifest: Manifest,
}

impl Image {
    /// The kernel, in a form that QEMU boots directly.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The initramfs: the supervisor and the kernel's modules.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd.cpio")
    }

    /// The base system's read-only disk (erofs).
    pub fn base(&self) -> PathBuf {
        self.dir.join("base.erofs")
    }

    /// Claude Code's read-only disk (erofs), with the program at `bin/claude`.
    pub fn claude(&self) -> PathBuf {
        self.dir.join("claude.erofs")
    }

    /// An empty ext4 file system, sparse: each run writes to a copy.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch.ext4")
    }

    /// Bytes on disk, shared files included.
    pub fn disk(&self) -> u64 {
        let blocks = |f: &String| std::fs::metadata(self.dir.join(f)).map_or(0, |m| m.blocks() * 512);
        self.manifest.files.keys().map(blocks).sum()
    }

    /// Compares these files with the manifest.
    ///
    /// # Errors
    /// Names the first file that is missing or not what was built.
    pub(super) fn verify<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<()> {
        for name in names {
            let path = self.dir.join(name);
            let damaged = |why: String| Failure::new("the image is damaged").because(why).next(BUILD);
            let Some(stamp) = self.manifest.files.get(name) else {
                return Err(damaged(format!("its manifest has no {name}")));
            };
            let meta = std::fs::metadata(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
            if meta.len() != stamp.size {
                return Err(damaged(format!("{} has {} bytes instead of {}", path.display(), meta.len(), stamp.size)));
            }
            if stamp.looks_like(&meta) {
                continue;
            }
            if digest(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))? != stamp.sha256 {
                return Err(damaged(format!("the contents of {} are not what was built", path.display())));
            }
        }
        Ok(())
    }
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

    fn looks_like(&self, meta: &std::fs::Metadata) -> bool {
        self.mtime == (meta.mtime(), meta.mtime_nsec()) && self.inode == meta.ino()
    }
}

/// The image that runs use, verified.
///
/// # Errors
/// When there is none, when it is damaged, or when its supervisor speaks another version of the wire.
pub fn current(dirs: &Dirs) -> Result<Image> {
    let link = dirs.images().join(CURRENT);
    let Ok(id) = std::fs::read_link(&link) else {
        return Err(Failure::new("there is no image").next(BUILD));
    };
    let image = open(&dirs.images().join(id))?;
    let ours = vmclaude_init::wire::proto::VERSION;
    if image.manifest.wire != ours {
        return Err(Failure::new("the image does not fit this vmclaude")
            .because(format!("its supervisor speaks version {} of the wire, not {ours}", image.manifest.wire))
            .next(BUILD));
    }
    image.verify(image.manifest.files.keys())?;
    Ok(image)
}

/// Every image whose manifest can be read, oldest first; and the current one's id.
///
/// # Errors
/// When the directory of images is there and cannot be read.
pub fn list(dirs: &Dirs) -> Result<(Vec<Image>, Option<String>)> {
    let current = std::fs::read_link(dirs.images().join(CURRENT)).ok();
    let current = current.and_then(|c| c.to_str().map(str::to_owned));
    let entries = match std::fs::read_dir(dirs.images()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), None)),
        entries => entries.what(|| format!("cannot read {}", dirs.images().display()))?,
    };
    let named = |e: &std::fs::DirEntry| {
        e.file_type().is_ok_and(|t| t.is_dir()) && !e.file_name().as_encoded_bytes().starts_with(b".")
    };
    let mut images: Vec<_> =
        entries.filter_map(std::result::Result::ok).filter(named).filter_map(|e| open(&e.path()).ok()).collect();
    images.sort_by(|a, b| a.manifest.id.cmp(&b.manifest.id));
    Ok((images, current))
}

/// Removes one image. A running virtual machine keeps the files that it has open.
///
/// # Errors
/// When there is no such image, or a file cannot be removed.
pub fn remove(dirs: &Dirs, id: &str) -> Result<()> {
    let (images, current) = list(dirs)?;
    let Some(image) = images.iter().find(|i| i.manifest.id == id) else {
        return Err(Failure::usage(format!("there is no image {id}")).next("vmclaude image list"));
    };
    let what = || format!("cannot remove image {id}");
    if current.as_deref() == Some(id) {
        std::fs::remove_file(dirs.images().join(CURRENT)).what(what)?;
    }
    // The manifest goes first: half an image is not an image.
    std::fs::remove_file(image.dir.join(MANIFEST)).what(what)?;
    std::fs::remove_dir_all(&image.dir).what(what)
}

/// Makes `id` the current image, in one step.
///
/// # Errors
/// When the link cannot be made.
pub(super) fn set_current(dirs: &Dirs, id: &str) -> Result<()> {
    let aside = dirs.images().join(".current");
    let _ = std::fs::remove_file(&aside);
    std::os::unix::fs::symlink(id, &aside)
        .and_then(|()| std::fs::rename(&aside, dirs.images().join(CURRENT)))
        .and_then(|()| crate::files::sync_dir(&dirs.images()))
        .what(|| format!("cannot make {id} the current image"))
}

/// Writes the manifest into `dir`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(dir: &Path, manifest: &Manifest) -> Result<()> {
    let text = serde_json::to_string_pretty(manifest).what(|| "cannot write the image's manifest")?;
    write_atomic(&dir.join(MANIFEST), text.as_bytes(), 0o600)
}

fn open(dir: &Path) -> Result<Image> {
    let damaged = |why: String| Failure::new("the image is damaged").because(why).next(BUILD);
    let path = dir.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
    if manifest.format != FORMAT || dir.file_name().and_then(|n| n.to_str()) != Some(&manifest.id) {
        return Err(damaged(format!("{} was written by another vmclaude", path.display())));
    }
    Ok(Image { dir: dir.to_path_buf(), manifest })
}

/// SHA-256 of a file; of a sparse one, of its blocks that are not zero and where they are, or it would take minutes.
fn digest(path: &Path) -> std::io::Result<String> {
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
