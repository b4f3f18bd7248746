//! The images that were built: each a directory with a manifest, one of them current.

pub use super::stamp::Stamp;
use super::stamp::digest;
use crate::error::{Context, Failure, Result};
use crate::files::write_atomic;
use crate::host::Dirs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// Packages that the user asked for besides the usual ones; older programs did not write them down.
    #[serde(default)]
    pub packages: Option<Vec<String>>,
    /// The files by name.
    pub files: BTreeMap<String, Stamp>,
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

    /// Compares these files with the manifest. Returns whether a digest had to be computed, as when somebody copied the
    /// files.
    ///
    /// # Errors
    /// Names the first file that is missing or not what was built.
    pub(super) fn verify<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<bool> {
        let mut copied = false;
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
            copied = true;
            if digest(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))? != stamp.sha256 {
                return Err(damaged(format!("the contents of {} are not what was built", path.display())));
            }
        }
        Ok(copied)
    }

    /// Records the files as they are, so that the next run need not read them. Without it runs are slow, not wrong.
    fn restamp(&mut self) {
        for (name, stamp) in &mut self.manifest.files {
            if let Ok(meta) = std::fs::metadata(self.dir.join(name)) {
                stamp.see(&meta);
            }
        }
        let _ = write(&self.dir, &self.manifest);
    }
}

/// The image that runs use, verified.
///
/// # Errors
/// When there is none, when it is damaged, or when its supervisor speaks another version of the wire.
pub fn current(dirs: &Dirs) -> Result<Image> {
    let link = dirs.images().join(CURRENT);
    let Ok(id) = std::fs::read_link(&link) else {
        return Err(Failure::new("there is no image")
            .because(format!("none was built in {}", dirs.images().display()))
            .next(BUILD));
    };
    let mut image = open(&dirs.images().join(id))?;
    let ours = vmclaude_init::wire::proto::VERSION;
    if image.manifest.wire != ours {
        return Err(Failure::new("the image does not fit this vmclaude")
            .because(format!("its supervisor speaks version {} of the wire, not {ours}", image.manifest.wire))
            .next(BUILD));
    }
    if image.verify(image.manifest.files.keys())? {
        image.restamp();
    }
    Ok(image)
}

/// Every image whose manifest can be read, oldest first; and the current one's id.
///
/// # Errors
/// When the directory of images is there and cannot be read.
pub fn list(dirs: &Dirs) -> Result<(Vec<Image>, Option<String>)> {
    let current = std::fs::read_link(dirs.images().join(CURRENT)).ok();
    let current = current.and_then(|c| c.to_str().map(str::to_owned));
    let images = names(dirs)?.into_iter().filter_map(|name| open(&dirs.images().join(name)).ok()).collect();
    Ok((images, current))
}

/// The names of all images, whole, damaged or written by another vmclaude, the oldest first. What has no number and cannot be
/// read is somebody else's (`lost+found`).
///
/// # Errors
/// As [`list`].
pub fn names(dirs: &Dirs) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dirs.images()) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.what(|| format!("cannot read {}", dirs.images().display()))?,
    };
    let names = entries.filter_map(std::result::Result::ok).filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    let mut names: Vec<_> = names.filter_map(|e| e.file_name().into_string().ok()).collect();
    let is_number = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    names.retain(|name| is_number(name) || open(&dirs.images().join(name)).is_ok());
    names.sort();
    Ok(names)
}

/// Removes one image, also one that cannot be read. A running virtual machine keeps the files that it has open.
///
/// # Errors
/// When there is no such image, or a file cannot be removed.
pub fn remove(dirs: &Dirs, id: &str) -> Result<()> {
    if !names(dirs)?.iter().any(|name| name == id) {
        return Err(Failure::usage(format!("there is no image {id}")).next("vmclaude image list"));
    }
    let what = || format!("cannot remove image {id}");
    let current = dirs.images().join(CURRENT);
    if std::fs::read_link(&current).is_ok_and(|to| to == Path::new(id)) {
        std::fs::remove_file(&current).what(what)?;
    }
    let dir = dirs.images().join(id);
    // The manifest goes first: half an image is not an image. Where there is none, or no file, there is none to go first.
    let _ = std::fs::remove_file(dir.join(MANIFEST));
    std::fs::remove_dir_all(&dir).what(what)
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
    let text = crate::files::read(&path).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| damaged(format!("{}: {e}", path.display())))?;
    if manifest.format != FORMAT || dir.file_name().and_then(|n| n.to_str()) != Some(&manifest.id) {
        return Err(damaged(format!("{} was written by another vmclaude", path.display())));
    }
    Ok(Image { dir: dir.to_path_buf(), manifest })
}

#[cfg(test)]
mod tests;
