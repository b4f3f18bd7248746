//! Proof that a container sees the directories that were decided upon.
//!
//! The system opens them by their paths, a second or more after we looked, and who may rename what lies on such a path could put
//! another directory there meanwhile. So once all are mounted, a file with a name that nobody can guess appears for a moment in
//! each directory that we hold open, and the supervisor starts nothing before it has seen it.

use crate::error::Result;
use crate::files;
use crate::plan::Plan;
use crate::session::child;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What the files' names begin with.
const BEGIN: &str = ".vmclaude-proof-";
/// An older one was left by somebody who was killed.
const OLD: Duration = Duration::from_secs(600);

/// The files, which vanish with this.
pub(in crate::session) struct Proofs(Vec<Proof>);

struct Proof {
    dir: File,
    name: String,
    guest: Vec<u8>,
}

impl Proofs {
    /// None.
    pub(in crate::session) fn none() -> Proofs {
        Proofs(Vec::new())
    }

    /// Makes them. A directory in which we may make nothing is not proven.
    ///
    /// # Errors
    /// When one of the directories is another one by now.
    pub(in crate::session) fn make(plan: &Plan) -> Result<Proofs> {
        let mut proofs = Vec::new();
        for mount in plan.mounts.iter().filter(|mount| mount.identity.is_some()) {
            let path = child::directory(&mount.host, mount.identity)?;
            let Ok(dir) = openat(&path, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            else {
                continue;
            };
            sweep(&mount.host);
            let name = format!("{BEGIN}{}", secret()?);
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if openat(&dir, name.as_str(), flags, Mode::S_IRUSR).is_ok() {
                proofs.push(Proof { dir: dir.into(), name, guest: mount.guest.as_os_str().as_bytes().to_vec() });
            }
        }
        Ok(Proofs(proofs))
    }

    /// Removes them.
    pub(in crate::session) fn drop_all(&mut self) {
        self.0.clear();
    }

    /// For the guest: where each is there.
    pub(in crate::session) fn places(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|proof| [&proof.guest[..], b"/", proof.name.as_bytes()].concat()).collect()
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let _ = unlinkat(&self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// A name's part that nobody can guess.
fn secret() -> Result<String> {
    let bytes: [u8; 16] = files::random()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes what somebody left who was killed in that moment.
fn sweep(dir: &Path) {
    let is_old = |entry: &std::fs::DirEntry| {
        let meta = entry.metadata().ok().filter(|meta| meta.is_file() && meta.len() == 0);
        let age = meta.and_then(|meta| SystemTime::now().duration_since(meta.modified().ok()?).ok());
        age.is_some_and(|age| age > OLD)
    };
    let ours = |name: &OsStr| name.as_bytes().starts_with(BEGIN.as_bytes());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if ours(&entry.file_name()) && is_old(&entry) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
