//! What is kept of sessions that are over: what they were, how they ended, and the ends of their logs. A bounded number.

use super::record::Facts;
use super::usage::Peak;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How many sessions are kept.
const KEPT: usize = 16;
/// How much of each log is kept, from its end.
const TAIL: u64 = 64 << 10;
/// The logs of a session. Nothing of what its command reads or writes is in them.
pub(super) const LOGS: [&str; 5] = ["session.log", "container.log", "share.log", "machine.log", "console.log"];
const RECORD: &str = "ended.json";

/// A session that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What it was.
    #[serde(flatten)]
    pub facts: Facts,
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// How, in words.
    pub how: String,
    /// The most that it took.
    pub peak: Peak,
}

/// Where a session of this name is kept when it is over; `runs` is where it runs.
pub fn dir(runs: &Path, id: &str) -> PathBuf {
    runs.with_file_name("ended").join(id)
}

/// Moves what is to be kept out of the session's directory. What cannot be kept is not: this is never a reason to fail.
pub(super) fn keep(session: &Path, ended: &Ended) {
    let (Some(runs), Some(id)) = (session.parent(), session.file_name().and_then(|n| n.to_str())) else { return };
    let to = dir(runs, id);
    let kept = crate::files::private_dir(&to).map_err(std::io::Error::other).and_then(|()| {
        for log in LOGS {
            // A log that is short needs no copy.
            match std::fs::metadata(session.join(log)) {
                Ok(meta) if meta.len() == 0 => {}
                Ok(meta) if meta.len() <= TAIL => std::fs::rename(session.join(log), to.join(log))?,
                Ok(_) => std::fs::write(to.join(log), tail(&session.join(log), TAIL)?)?,
                Err(_) => {}
            }
        }
        std::fs::write(to.join(RECORD), serde_json::to_vec(ended)?)
    });
    if let Err(e) = kept {
        tracing::info!("the session's logs are not kept: {e}");
        let _ = std::fs::remove_dir_all(&to);
    }
    forget(runs);
}

/// Removes all but the newest.
fn forget(runs: &Path) {
    let entries = std::fs::read_dir(runs.with_file_name("ended")).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path()))).collect();
    found.sort();
    for (_, path) in found.iter().take(found.len().saturating_sub(KEPT)) {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Every session that is kept, the newest last.
pub fn all(runs: &Path) -> Vec<Ended> {
    let entries = std::fs::read_dir(runs.with_file_name("ended")).into_iter().flatten().flatten();
    let read = |dir: PathBuf| serde_json::from_slice(&std::fs::read(dir.join(RECORD)).ok()?).ok();
    let mut all: Vec<Ended> = entries.filter_map(|e| read(e.path())).collect();
    all.sort_by_key(|e| (e.at, e.facts.started));
    all
}

/// The logs in a session's directory that say something, each with its end.
pub fn logs(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |log: &&str| Some(((*log).to_owned(), tail(&dir.join(log), TAIL).ok().filter(|text| !text.is_empty())?));
    LOGS.iter().filter_map(read).collect()
}

/// The last bytes of a file. What the guest makes large is not read as a whole.
pub(super) fn tail(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(most)))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::record::{Record, facts};

    #[test]
    fn the_ends_of_the_last_sessions_logs_are_kept() {
        let state = tempfile::tempdir().expect("dir");
        let runs = state.path().join("run");
        for n in 0..KEPT + 4 {
            let record = Record::create(&runs, &facts(Path::new("/p"), "sh".as_ref(), 512)).expect("record");
            std::fs::write(record.dir().join("console.log"), format!("{}{n}", "x".repeat(100_000))).expect("write");
            std::fs::write(record.dir().join("machine.log"), "").expect("write");
            std::fs::write(record.dir().join("secret"), "not a log").expect("write");
            record.keep(format!("it exited with {n}"));
        }
        assert_eq!(std::fs::read_dir(&runs).expect("list").count(), 0, "nothing is left where sessions run");
        let ended = all(&runs);
        assert_eq!(ended.len(), KEPT);
        for ended in &ended {
            let dir = dir(&runs, &ended.facts.id);
            let logs = logs(&dir);
            assert_eq!((logs.len(), logs[0].0.as_str(), logs[0].1.len() as u64), (1, "console.log", TAIL));
            let number = ended.how.rsplit(' ').next().expect("a number");
            assert!(logs[0].1.ends_with(format!("x{number}").as_bytes()));
            assert!(!dir.join("secret").exists());
        }
    }
}
