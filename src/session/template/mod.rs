//! Templates: machines that were saved while they waited for their host, to be copied instead of booted.
//!
//! One file per machine, named by [`warm::key`](crate::engine::qemu::warm::key), in the cache directory. It is made once, by a process of its own that
//! nobody waits for, before anything of a user is attached; it appears complete or not at all. Whatever goes wrong with
//! a copy removes its template.

mod copy;
mod file;
mod make;
mod mapped;
mod rows;

pub use make::{make, make_aside};

pub(super) use copy::{Copy, start};
pub(super) use file::Template;

use crate::engine::qemu::warm::{self, Stamp};
use crate::engine::qemu::{Accel, Flavor, Machine};
use crate::error::{Context, Result};
use crate::host::Host;
use crate::plan::Limits;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The hidden verb that makes a template.
pub const VERB: &str = "__template";

/// After so many failures with the same machine nobody tries again.
const PATIENCE: u64 = 3;
/// So many templates are kept; they are some 60 MiB each, with Claude Code 130.
const KEPT: usize = 4;

/// The template to use for this machine, and the best one: that of this flavor, or as long as there is none that of the other.
///
/// # Errors
/// When a file of the machine is missing.
pub fn find(host: &Host, machine: &Machine, limits: &Limits, flavor: Flavor) -> Result<(PathBuf, PathBuf)> {
    let best = path(host, machine, limits, flavor)?;
    if best.exists() {
        return Ok((best.clone(), best));
    }
    let other = match flavor {
        Flavor::Plain => Flavor::Claude,
        Flavor::Claude => Flavor::Plain,
    };
    let other = path(host, machine, limits, other)?;
    Ok((if other.exists() { other } else { best.clone() }, best))
}

/// Where the template of this machine is, or would be.
///
/// # Errors
/// When a file of the machine is missing.
pub fn path(host: &Host, machine: &Machine, limits: &Limits, flavor: Flavor) -> Result<PathBuf> {
    let files = &machine.files;
    let files = [&machine.qemu, &files.kernel, &files.initrd, &files.base, &files.claude, &files.scratch];
    let stamps = files.map(|file| stamp(file)).into_iter().collect::<Result<Vec<Stamp>>>()?;
    let cpu = if machine.accel == Accel::Kvm { processor() } else { String::new() };
    Ok(dir(host).join(warm::key(machine, limits, flavor, &stamps, &cpu)))
}

fn dir(host: &Host) -> PathBuf {
    host.dirs.cache.join("templates")
}

fn stamp(file: &Path) -> Result<Stamp> {
    let meta = std::fs::metadata(file).what(|| format!("cannot look at {}", file.display()))?;
    Ok((meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// What a guest under KVM can see of the processor.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let same = |line: &&str| {
        ["vendor_id", "cpu family", "model", "stepping", "microcode", "flags"].iter().any(|name| line.starts_with(name))
    };
    text.split("\n\n").next().unwrap_or_default().lines().filter(same).collect::<Vec<_>>().join("\n")
}

/// Whether it would make sense to make the template at `path`: it is not there, and did not fail too often.
pub fn is_wanted(path: &Path) -> bool {
    !path.exists() && failures(path) < PATIENCE
}

/// Removes a template that did not work, and remembers it.
pub(super) fn discard(path: &Path) {
    let _ = std::fs::remove_file(path);
    let _ = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path.with_extension("failed"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
}

fn failures(path: &Path) -> u64 {
    std::fs::metadata(path.with_extension("failed")).map_or(0, |meta| meta.len())
}

/// Removes all but the newest templates, and what makers that were killed left.
fn prune(dir: &Path) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|e| e.path().extension().is_none() && e.file_name() != "lock")
        .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
        .collect();
    found.sort();
    for (_, path) in found.iter().take(found.len().saturating_sub(KEPT)) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_templates_are_kept_and_failures_are_counted() {
        let dir = tempfile::tempdir().expect("dir");
        for (n, name) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
            let file = std::fs::File::create(dir.path().join(name)).expect("create");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(n as u64 * 60);
            file.set_modified(time).expect("time");
        }
        std::fs::write(dir.path().join("lock"), "").expect("lock");
        prune(dir.path());
        let left = |name: &str| dir.path().join(name).exists();
        assert_eq!(["a", "b", "c", "d", "e", "f", "lock"].map(left), [false, false, true, true, true, true, true]);
        let path = dir.path().join("f");
        assert!(!is_wanted(&path), "it is there");
        for _ in 0..PATIENCE {
            assert!(failures(&path) < PATIENCE);
            discard(&path);
        }
        assert!(!path.exists() && !is_wanted(&path));
    }
}
