//! A directory for the socket and the links of a session whose paths can be arguments of `container`.

use crate::engine::apple::{Place, mounts};
use crate::error::{Context, Failure, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where it is when the session's own path does not do: it is too long for a socket, or cannot be spelt.
fn short(id: &str) -> PathBuf {
    PathBuf::from(format!("/tmp/vmclaude-{}-{id}", nix::unistd::geteuid()))
}

/// The session in `dir` as a place: the directory itself where its path does.
pub(super) fn of(dir: &Path) -> Place {
    let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let dir = if mounts::is_plain(dir) { dir.to_path_buf() } else { short(&id) };
    Place { id, dir }
}

/// Makes it where it is not the session's own directory.
pub(super) fn make(place: &Place, dir: &Path) -> Result<()> {
    if place.dir == dir {
        return Ok(());
    }
    let what = || format!("cannot make {}", place.dir.display());
    DirBuilder::new().mode(0o700).create(&place.dir).what(what)?;
    let meta = std::fs::symlink_metadata(&place.dir).what(what)?;
    match meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() {
        true => Ok(()),
        false => Err(Failure::refused(what()).because("somebody else has a directory of this name")),
    }
}

/// Removes what a session had outside of its own directory.
pub(super) fn remove(id: &str) {
    let dir = short(id);
    // Only a directory of ours: /tmp is everybody's.
    let ours = std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir() && m.uid() == nix::unistd::geteuid().as_raw());
    if ours {
        let _ = std::fs::remove_dir_all(dir);
    }
}
