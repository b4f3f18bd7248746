//! One private directory per running session: what it is, its logs, its socket. Its lock says that it lives.

use crate::error::{Context, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is known of a session, on disk before anything is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of this record.
    pub version: u32,
    /// The process that runs the session.
    pub pid: u32,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// The directory at `/workspace`.
    pub project: PathBuf,
    /// The command in the guest, without its arguments: these may be private.
    pub program: String,
}

/// A session of this process. Its directory goes when it is dropped.
pub(crate) struct Record {
    dir: PathBuf,
    _lock: files::Lock,
}

impl Record {
    /// Creates the session's directory below `runs` and locks it.
    pub(crate) fn create(runs: &Path, facts: &Facts) -> Result<Record> {
        files::private_dir(runs)?;
        let what = || format!("cannot make a directory in {}", runs.display());
        let dir = tempfile::Builder::new().prefix("").rand_bytes(8).tempdir_in(runs).what(what)?.keep();
        let lock = files::lock(&dir.join("lock"))?;
        let text = serde_json::to_vec(facts).what(|| "cannot write the session's record")?;
        files::write_atomic(&dir.join("record.json"), &text, 0o600)?;
        Ok(Record { dir, _lock: lock })
    }

    /// The session's private directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The facts of a new session of this process.
pub(crate) fn facts(project: &Path, program: &std::ffi::OsStr) -> Facts {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let program = program.to_string_lossy().into_owned();
    Facts { version: 1, pid: std::process::id(), started, project: project.to_path_buf(), program }
}

/// What is left of sessions: those that live, and the directories of those that crashed.
pub fn survey(runs: &Path) -> (Vec<Facts>, Vec<PathBuf>) {
    let (mut alive, mut dead) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let dir = entry.path();
        match files::try_lock(&dir.join("lock")) {
            Ok(None) => alive.extend(read(&dir)),
            // A directory without a lock is one that is being made this moment, unless it is old.
            Ok(Some(_)) if dir.join("record.json").exists() || is_old(&dir) => dead.push(dir),
            _ => {}
        }
    }
    alive.sort_by_key(|f| f.started);
    (alive, dead)
}

fn read(dir: &Path) -> Option<Facts> {
    serde_json::from_slice(&std::fs::read(dir.join("record.json")).ok()?).ok()
}

fn is_old(dir: &Path) -> bool {
    let age = std::fs::metadata(dir).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|a| a.as_secs() > 60)
}

/// Removes what crashed sessions left; says how many there were.
pub fn prune(runs: &Path) -> usize {
    let (_, dead) = survey(runs);
    dead.iter().filter(|dir| std::fs::remove_dir_all(dir).is_ok()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_session_is_seen_and_a_dead_one_is_removed() {
        let state = tempfile::tempdir().expect("dir");
        let runs = state.path().join("run");
        let facts = facts(Path::new("/p"), std::ffi::OsStr::new("claude"));
        let living = Record::create(&runs, &facts).expect("record");
        let crashed = Record::create(&runs, &facts).expect("record");
        let left = crashed.dir().to_path_buf();
        // What a crash leaves: the directory, and a lock that nobody holds.
        let copy = runs.join("crashed");
        std::fs::rename(&left, &copy).expect("rename");
        drop(crashed);
        assert_eq!(survey(&runs), (vec![facts], vec![copy.clone()]));
        assert_eq!(prune(&runs), 1);
        assert!(!copy.exists() && living.dir().exists());
    }
}
