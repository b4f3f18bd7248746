//! The git directory of a linked worktree or a submodule: outside of the project, at the end of a pointer that the guest can
//! write. So the pointer counts only where that directory points back, and only as it was when it was pinned.

use super::{named, value_in};
use crate::enrollment::{self, refuse};
use crate::files::{private_dir, write_atomic};
use crate::host::Host;
use crate::plan::protect::{self, Protect, Protected};
use crate::plan::{Identity, Mount, mounts};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// The longest pointer that is read.
const LONGEST: u64 = 4096;
/// The name under which the pin is kept in a project's state.
const PIN: &str = "git";
/// Its name in the share.
pub const TAG: &str = "git";

/// A git directory outside of the project that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// What must be mounted: the repository's common directory, or the submodule's own.
    pub dir: PathBuf,
    /// The directory at the end of the pointer.
    pub target: PathBuf,
    /// What the pointer says.
    pub pointer: PathBuf,
    /// What `dir` was when it was looked at.
    pub identity: Identity,
}

/// The git directory outside of `root` (canonical) that belongs to it; `None`: there is none, or all is inside.
///
/// # Errors
/// Why the pointer is not followed.
pub fn outside(host: &Host, root: &Path) -> Result<Option<Outside>, String> {
    let Some(pointer) = pointer(root)? else { return Ok(None) };
    let target = root.join(&pointer).canonicalize().map_err(|e| format!("{}: {e}", pointer.display()))?;
    if target.starts_with(root) {
        return Ok(None);
    }
    let dir = match worktree(root, &target) {
        Some(common) => common,
        None if is_submodule(host, root, &target) => target.clone(),
        None => return Err(format!("{} does not point back to this directory", target.display())),
    };
    let meta = dir.symlink_metadata().map_err(|e| format!("{}: {e}", dir.display()))?;
    let is_git = dir.join("HEAD").is_file() && dir.join("objects").is_dir() && dir.join("refs").is_dir();
    if !is_git || meta.uid() != host.uid {
        return Err(format!("{} is no git directory of yours", dir.display()));
    }
    if let Err(failure) = refuse::check(&dir, host) {
        return Err(failure.because.first().cloned().unwrap_or(failure.what));
    }
    if root.starts_with(&dir) || mounts::is_taken(&dir) {
        return Err(format!("{} means something else in the VM", dir.display()));
    }
    Ok(Some(Outside { dir, target, pointer, identity: Identity { dev: meta.dev(), ino: meta.ino() } }))
}

/// What the file `.git` in `root` points to; `None` where `.git` is no file.
fn pointer(root: &Path) -> Result<Option<PathBuf>, String> {
    let path = root.join(".git");
    if !path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(None);
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(&path).map_err(|e| format!(".git: {e}"))?;
    let text = line(file).ok_or(".git cannot be read")?;
    let pointer = text.strip_prefix("gitdir: ").ok_or(".git is a file and no pointer")?;
    let plain = !pointer.is_empty() && !pointer.chars().any(char::is_control);
    plain.then(|| Some(PathBuf::from(pointer))).ok_or_else(|| ".git points nowhere".to_owned())
}

/// The one line of a file of git's.
fn line(file: File) -> Option<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The common directory, when `target` is that of a linked worktree at `root`.
fn worktree(root: &Path, target: &Path) -> Option<PathBuf> {
    let read = |name: &str| line(File::open(target.join(name)).ok()?);
    let common = target.join(read("commondir")?).canonicalize().ok()?;
    let back = target.join(read("gitdir")?);
    let points_back = back.file_name()? == ".git" && back.parent()?.canonicalize().ok()? == root;
    (points_back && target.parent()? == common.join("worktrees")).then_some(common)
}

/// Whether `target` is the git directory of a submodule at `root`: it lies among a repository's modules, and its
/// configuration names this directory.
fn is_submodule(host: &Host, root: &Path, target: &Path) -> bool {
    let in_modules =
        target.ancestors().skip(1).any(|up| up.ends_with("modules") && up.with_file_name("HEAD").is_file());
    let names = || value_in(host, &target.join("config"), "core.worktree");
    in_modules && names().and_then(|tree| target.join(tree).canonicalize().ok()).is_some_and(|tree| tree == root)
}

impl Outside {
    /// At its own path, where pointers of both sides lead.
    pub fn mount(&self) -> Mount {
        Mount {
            host: self.dir.clone(),
            guest: self.dir.clone(),
            tag: TAG.to_owned(),
            writable: true,
            coherent: false,
            identity: Some(self.identity),
        }
    }

    /// What of it the guest may not change: as in a project's own. And what its configuration names in the project at `root`,
    /// whose mount is `project`.
    pub fn protected(&self, host: &Host, wish: &Protect, root: &Path, project: &str) -> Vec<Protected> {
        let (here, there) = named::outside(host, &self.dir, root);
        let own = [enrollment::git::find_in(&self.dir), here].concat();
        [protect::of_git_directory(wish, &own, TAG), protect::of_git_directory(wish, &there, project)].concat()
    }

    /// What makes the pointer mean the same in the guest, where the project is elsewhere.
    pub fn link(&self) -> Option<(PathBuf, PathBuf)> {
        let from = normal(&Path::new(mounts::WORKSPACE).join(&self.pointer));
        (from != self.target).then(|| (from, self.target.clone()))
    }

    /// Whether the pointer leads where it led when it was pinned in this state, if it ever was.
    ///
    /// # Errors
    /// When it leads elsewhere since.
    pub fn is_pinned(&self, state: &Path) -> Result<(), String> {
        match std::fs::read(state.join(PIN)) {
            Ok(pinned) if pinned != self.text() => {
                Err(format!(".git leads to {} now, and led elsewhere before", self.target.display()))
            }
            _ => Ok(()),
        }
    }

    fn text(&self) -> Vec<u8> {
        [self.target.as_os_str().as_bytes(), b"\n"].concat()
    }
}

/// By words alone, as for a path without links: `..` at the root stays there.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

/// Remembers in the project's state (no guest sees it) where the pointer leads.
///
/// # Errors
/// When it cannot be written.
pub fn pin(state: &Path, outside: Option<&Outside>) -> crate::error::Result<()> {
    let path = state.join(PIN);
    match outside {
        Some(outside) if std::fs::read(&path).is_ok_and(|pinned| pinned == outside.text()) => Ok(()),
        Some(outside) => private_dir(state).and_then(|()| write_atomic(&path, &outside.text(), 0o600)),
        None => {
            let _ = std::fs::remove_file(path);
            Ok(())
        }
    }
}

#[cfg(test)]
#[path = "outside_tests.rs"]
mod tests;
