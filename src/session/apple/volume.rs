//! Volumes that Apple's `container` keeps for our projects. Each has a lock of ours on the host, so that no two machines ever
//! have one; the system refuses that too, but only when the second is about to boot.

use super::super::volume::{self, Held, Seen};
use super::call::Asked;
use crate::engine::apple::volumes::{self, Volume};
use crate::engine::apple::{Container, calls};
use crate::error::Result;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The volume whose lock is this file for us alone, made for so many MiB where there is none; `None`: another session has it.
///
/// # Errors
/// When the system cannot list or make it, or the lock is not a file of ours alone.
pub fn hold(container: &Container, lock: &Path, mib: u64) -> Result<Option<Held>> {
    let Some(held) = volume::hold_lock(lock)? else { return Ok(None) };
    let asked = Asked::from(container);
    let project = lock.file_stem().unwrap_or_default().to_string_lossy();
    // Without a look at first, `run` would make one of that name that is not known by labels, and of another size.
    if !find(&asked, &container.owner)?.iter().any(|known| known.project == project) {
        order(&asked, &volumes::create(&container.owner, &project, mib), "cannot make the project's volume")?;
    }
    Ok(Some(held))
}

/// All volumes of ours, by project.
///
/// # Errors
/// When they cannot be listed.
pub fn all(container: &Container, state: &Path) -> Result<Vec<Seen>> {
    let mut found = find(&Asked::from(container), &container.owner)?;
    found.sort_by(|a, b| a.project.cmp(&b.project));
    let seen = |Volume { name, project, file, size }| {
        let lock = volume::lock_path(state, OsStr::new(&project));
        let in_use = volume::is_held(&lock).unwrap_or(false);
        let allocated = std::fs::symlink_metadata(&file).map_or(0, |meta| meta.blocks() * 512);
        Seen { project, file, size, allocated, in_use, name: Some(name) }
    };
    Ok(found.into_iter().map(seen).collect())
}

/// Removes a volume that no session has; whether that was so.
///
/// # Errors
/// When the system does not remove it.
pub fn remove(container: &Container, state: &Path, seen: &Seen) -> Result<bool> {
    let lock = volume::lock_path(state, OsStr::new(&seen.project));
    let Some(held) = volume::hold_lock(&lock)? else { return Ok(false) };
    let name = seen.name.as_deref().unwrap_or_default();
    order(&Asked::from(container), &volumes::delete(name), "cannot remove a volume")?;
    volume::discard_lock(&lock, held)?;
    Ok(true)
}

fn order(asked: &Asked, call: &calls::Call, what: &str) -> Result<()> {
    let answer = asked.ask(call)?;
    match answer.success {
        true => Ok(()),
        false => Err(answer.failure(what).next("container volume list")),
    }
}

fn find(asked: &Asked, owner: &str) -> Result<Vec<Volume>> {
    let answer = asked.ask(&volumes::list())?;
    match answer.success {
        true => volumes::ours(&answer.out, owner),
        false => Err(answer.failure("cannot list the volumes").next("container system status")),
    }
}
