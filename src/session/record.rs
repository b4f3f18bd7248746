//! One private directory per running session: what it is, its logs, its sockets. Its lock says that it lives.

use super::apple;
use super::ended;
use super::usage::{self, Peak, Usage};
use crate::error::{Context, Result};
use crate::files;
use crate::host::now;
use crate::plan::ports::Forward;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What is known of a session, on disk before anything is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of this record.
    pub version: u32,
    /// The session's name: that of its directory.
    #[serde(default)]
    pub id: String,
    /// The process that runs the session.
    pub pid: u32,
    /// When it started, in seconds since 1970.
    pub started: u64,
    /// The directory at `/workspace`.
    pub project: PathBuf,
    /// The command in the guest, without its arguments: these may be private.
    pub program: String,
    /// What its machine's memory may grow to, in MiB.
    #[serde(default)]
    pub memory_mib: u64,
}

/// What changes while a session runs, kept beside its record by the session itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The processes that its machine consists of.
    pub pids: Vec<u32>,
    /// The most that it took so far.
    pub peak: Peak,
    /// Ports of this machine that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Whether its own disk was stopped from growing, because the host's is nearly full.
    pub disk_full: bool,
    /// Whether only programs that use a proxy have a network.
    #[serde(default)]
    pub proxies_only: bool,
}

/// A session that runs, as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What it is.
    #[serde(flatten)]
    pub facts: Facts,
    /// What it takes now.
    #[serde(flatten)]
    pub usage: Usage,
    /// The most that it took.
    pub peak: Peak,
    /// Ports of this machine that lead into the guest.
    pub forwards: Vec<Forward>,
    /// Whether its own disk may not grow now.
    pub disk_full: bool,
    /// Whether only programs that use a proxy have a network.
    pub proxies_only: bool,
}

/// Held while a session lives.
pub(super) const LOCK: &str = "lock";
const RECORD: &str = "record.json";
const LIVE: &str = "live.json";

/// A session of this process. Its directory goes when it is dropped.
pub(crate) struct Record {
    dir: PathBuf,
    facts: Facts,
    _lock: files::Lock,
}

impl Record {
    /// Creates the session's directory below `runs` and locks it.
    pub(crate) fn create(runs: &Path, facts: &Facts) -> Result<Record> {
        Record::create_under(&lock(runs)?, runs, facts)
    }

    /// As [`Record::create`], for who holds the lock of `runs`.
    pub(super) fn create_under(_: &files::Lock, runs: &Path, facts: &Facts) -> Result<Record> {
        let what = || format!("cannot make a directory in {}", runs.display());
        let private = std::fs::Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix("").rand_bytes(8).permissions(private).tempdir_in(runs);
        let dir = dir.map_err(|e| files::at(&e, what(), runs))?.keep();
        let id = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let facts = Facts { id, ..facts.clone() };
        let made = files::lock_within(&dir.join(LOCK), files::LOCK_LIMIT).and_then(|lock| {
            let text = serde_json::to_vec(&facts).what(|| "cannot write the session's record")?;
            // It tells of processes, which are gone when the machine is.
            files::write_passing(&dir.join(RECORD), &text, 0o600).map(|()| lock)
        });
        match made {
            Ok(lock) => Ok(Record { dir, facts, _lock: lock }),
            Err(e) => {
                let _ = std::fs::remove_dir_all(&dir);
                Err(e)
            }
        }
    }

    /// The session's private directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The session's name.
    #[cfg(test)]
    pub(crate) fn id(&self) -> &str {
        &self.facts.id
    }

    /// The session is over: what it was and its logs are kept for a while.
    pub(crate) fn keep(self, how: String) {
        let peak = live(&self.dir).peak;
        ended::keep(&self.dir, &ended::Ended { facts: self.facts.clone(), at: now(), how, peak });
    }
}

impl Drop for Record {
    /// The lock goes last, or others would take what is left for a crashed session's.
    /// What could not be ended stays on record, and is tried again by whoever prunes.
    fn drop(&mut self) {
        if apple::has_note(&self.dir) {
            return;
        }
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten().filter(|e| e.file_name() != LOCK) {
            let _ = std::fs::remove_file(entry.path());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Writes what has changed. A reader sees the old or the new, and a crash of the host loses it with the session.
pub(super) fn write_live(dir: &Path, live: &Live) -> std::io::Result<()> {
    let aside = dir.join("live.new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec(live)?)?;
    std::fs::rename(aside, dir.join(LIVE))
}

fn live(dir: &Path) -> Live {
    std::fs::read(dir.join(LIVE)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// The facts of a new session of this process.
pub(crate) fn facts(project: &Path, program: &std::ffi::OsStr, memory_mib: u64) -> Facts {
    let program = program.to_string_lossy().into_owned();
    let (id, pid) = (String::new(), std::process::id());
    Facts { version: 1, id, pid, started: now(), project: project.to_path_buf(), program, memory_mib }
}

/// The lock of `runs`: who holds it is the only one who makes directories there.
pub(super) fn lock(runs: &Path) -> Result<files::Lock> {
    files::private_dir(runs)?;
    files::lock_within(&runs.with_extension("lock"), files::LOCK_LIMIT)
}

/// What is left of sessions: those that live, and the directories of those that crashed.
pub fn survey(runs: &Path) -> (Vec<Facts>, Vec<PathBuf>) {
    // One without a record is being made or removed this moment, unless it is old.
    look(runs, is_old)
}

/// `is_dead` says it of a directory that has no record and that nobody holds.
fn look(runs: &Path, is_dead: impl Fn(&Path) -> bool) -> (Vec<Facts>, Vec<PathBuf>) {
    let (mut alive, mut dead) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(runs).into_iter().flatten().flatten() {
        let dir = entry.path();
        match files::is_locked(&dir.join(LOCK)) {
            true => alive.extend(read(&dir)),
            false if dir.join(RECORD).exists() || is_dead(&dir) => dead.push(dir),
            false => {}
        }
    }
    alive.sort_by_key(|f| f.started);
    (alive, dead)
}

/// The sessions that run, with what they take.
pub fn seen(runs: &Path) -> Vec<Seen> {
    survey(runs).0.into_iter().map(|facts| see(runs, facts)).collect()
}

/// What `facts`' session takes now.
pub fn see(runs: &Path, facts: Facts) -> Seen {
    let live = live(&runs.join(&facts.id));
    let (usage, most) = usage::of(&live.pids);
    let mut peak = live.peak;
    peak.memory = peak.memory.max(most);
    let Live { forwards, disk_full, proxies_only, .. } = live;
    Seen { facts, usage, peak, forwards, disk_full, proxies_only }
}

/// What the record in `dir` says; its name is the directory's, whatever stands in it.
fn read(dir: &Path) -> Option<Facts> {
    let facts: Facts = serde_json::from_slice(&std::fs::read(dir.join(RECORD)).ok()?).ok()?;
    Some(Facts { id: dir.file_name()?.to_string_lossy().into_owned(), ..facts })
}

fn is_old(dir: &Path) -> bool {
    let age = std::fs::metadata(dir).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_some_and(|a| a.as_secs() > 60)
}

/// The names of the sessions that live.
pub(crate) fn living(runs: &Path) -> BTreeSet<String> {
    let dirs = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|e| e.path());
    let is_new = |dir: &Path| !dir.join(RECORD).exists() && !is_old(dir);
    let lives = |dir: &PathBuf| files::is_locked(&dir.join(LOCK)) || is_new(dir);
    dirs.filter(lives).filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned())).collect()
}

/// Removes what crashed sessions left, but for their logs; says how many there were. One whose container cannot be removed
/// stays on record.
///
/// # Errors
/// When another vmclaude is at it, and hangs.
pub fn prune(runs: &Path) -> Result<usize> {
    Ok(prune_under(&lock(runs)?, runs))
}

/// As [`prune`], for who holds the lock of `runs`: nobody makes a directory this moment, so one without a record is what
/// somebody left who was killed while he made it.
pub(super) fn prune_under(_: &files::Lock, runs: &Path) -> usize {
    look(runs, |_| true).1.iter().filter(|dir| apple::finish(dir) && bury(dir)).count()
}

fn bury(dir: &Path) -> bool {
    if let Some(facts) = read(dir) {
        let how = "vmclaude itself was killed or crashed".to_owned();
        ended::keep(dir, &ended::Ended { facts, at: now(), how, peak: live(dir).peak });
    }
    !dir.exists() || std::fs::remove_dir_all(dir).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_session_is_seen_and_a_dead_one_is_removed() {
        let state = tempfile::tempdir().expect("dir");
        let runs = state.path().join("run");
        let facts = facts(Path::new("/p"), std::ffi::OsStr::new("claude"), 512);
        let living = Record::create(&runs, &facts).expect("record");
        let crashed = Record::create(&runs, &facts).expect("record");
        let left = crashed.dir().to_path_buf();
        std::fs::write(left.join("console.log"), "last words").expect("write");
        // What a crash leaves: the directory, and a lock that nobody holds.
        let copy = runs.join("crashed");
        std::fs::rename(&left, &copy).expect("rename");
        drop(crashed);
        assert_eq!(survey(&runs), (vec![Facts { id: living.id().into(), ..facts }], vec![copy.clone()]));
        assert_eq!(prune(&runs), Ok(1));
        assert!(!copy.exists() && living.dir().exists());
        let ended = ended::all(&runs);
        assert_eq!((ended.len(), ended[0].facts.id.as_str()), (1, "crashed"), "{ended:?}");
        assert_eq!(ended::logs(&ended::dir(&runs, "crashed")), [("console.log".to_owned(), b"last words".to_vec())]);
    }

    #[test]
    fn what_a_session_takes_is_seen_by_others() {
        let state = tempfile::tempdir().expect("dir");
        let runs = state.path().join("run");
        let record = Record::create(&runs, &facts(Path::new("/p"), "sh".as_ref(), 512)).expect("record");
        let peak = Peak { cpu_percent: 7, memory: 1 << 40 };
        let forwards = vec!["8080:80".parse().expect("a forward")];
        let live = Live {
            pids: vec![std::process::id()],
            peak,
            forwards: forwards.clone(),
            disk_full: true,
            proxies_only: true,
        };
        write_live(record.dir(), &live).expect("written");
        let seen = seen(&runs);
        assert_eq!((seen.len(), seen[0].peak, &seen[0].forwards), (1, peak, &forwards));
        assert!(seen[0].disk_full && seen[0].proxies_only);
        let json = serde_json::to_value(&seen[0]).expect("JSON");
        assert!(json["cpu_ms"].is_u64() && json["pid"].is_u64() && json["forwards"][0]["guest"] == 80, "{json}");
    }
}
