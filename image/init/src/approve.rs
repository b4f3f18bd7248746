//! A key of the environment's that Claude Code need not ask about: the answer is noted in its own file, where there is none yet. Only
//! the end of the key is, as Claude Code notes it itself.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the answers in the file.
const ANSWERS: &str = "customApiKeyResponses";
/// A file that is longer is none of Claude Code's.
const LONGEST: u64 = 16 << 20;
/// The age from which a lock is nobody's, as Claude Code has it.
const STALE: Duration = Duration::from_secs(10);

#[derive(Default, Serialize, Deserialize)]
struct Answers {
    #[serde(default)]
    approved: Vec<String>,
    #[serde(default)]
    rejected: Vec<String>,
}

/// Notes in `file` that the key with this end may be used, unless it says something of it.
pub(crate) fn approve(file: &Path, end: &str, (uid, gid): (u32, u32)) -> io::Result<()> {
    let _lock = Lock::take(file)?;
    let mut text = String::new();
    let from = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)?;
    if !from.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    from.take(LONGEST).read_to_string(&mut text)?;
    let Some(text) = approved(&text, end)? else { return Ok(()) };
    let aside = beside(file, ".new");
    let _ = fs::remove_file(&aside);
    let mut to = File::options().write(true).create_new(true).mode(0o600).open(&aside)?;
    to.write_all(text.as_bytes())?;
    // The host's user is the owner there, whoever writes.
    let _ = std::os::unix::fs::lchown(&aside, Some(uid), Some(gid));
    fs::rename(&aside, file)
}

/// The text with this key among the approved; `None`: it was answered for. Every other byte stays.
fn approved(text: &str, end: &str) -> io::Result<Option<String>> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(text)?;
    let old = all.get(ANSWERS).map(|raw| raw.get());
    let mut answers: Answers = old.and_then(|old| serde_json::from_str(old).ok()).unwrap_or_default();
    if [&answers.approved, &answers.rejected].iter().any(|known| known.iter().any(|e| e == end)) {
        return Ok(None);
    }
    answers.approved.push(end.to_owned());
    let new = serde_json::to_string(&answers)?;
    let (at, over, new) = match old {
        // It is a part of the text.
        Some(old) => (old.as_ptr() as usize - text.as_ptr() as usize, old.len(), new),
        None => {
            let comma = if all.is_empty() { "" } else { "," };
            (text.find('{').map_or(0, |at| at + 1), 0, format!("\"{ANSWERS}\":{new}{comma}"))
        }
    };
    Ok(Some([&text[..at], &new, &text[at + over..]].concat()))
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_os_string();
    name.push(end);
    name.into()
}

/// Claude Code's own lock of that file, which is a directory: another machine may have a session in the same project.
struct Lock(PathBuf);

impl Lock {
    /// Waits a moment for it; it is held for a moment only.
    fn take(file: &Path) -> io::Result<Lock> {
        let dir = beside(file, ".lock");
        for _ in 0..100 {
            match DirBuilder::new().mode(0o700).create(&dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let age = fs::symlink_metadata(&dir)
                        .and_then(|meta| meta.modified())
                        .ok()
                        .and_then(|at| at.elapsed().ok());
                    if age.is_some_and(|age| age > STALE) {
                        let _ = fs::remove_dir(&dir);
                    } else {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
                made => return made.map(|()| Lock(dir)),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "somebody holds its file"))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_answered_is_approved_and_no_other_byte_changes() {
        let after = |text: &str| approved(text, "END").expect("JSON");
        let answer = r#"{"approved":["END"],"rejected":[]}"#;
        assert_eq!(after("{}"), Some(format!("{{\"customApiKeyResponses\":{answer}}}")));
        let text = "{\n  \"cost\": 0.1000000000000000055,\n \"a\": {\"customApiKeyResponses\": 1}\n}\n";
        assert_eq!(after(text), Some(text.replacen('{', &format!("{{\"customApiKeyResponses\":{answer},"), 1)));
        let with = |answers: &str| format!("{{\"n\": 1e3, \"customApiKeyResponses\" : {answers} , \"z\": [ ]}}");
        assert_eq!(after(&with("null")), Some(with(answer)));
        let more = r#"{"approved":["A","END"],"rejected":["B"]}"#;
        assert_eq!(after(&with(r#"{ "approved": ["A"], "rejected": ["B"] }"#)), Some(with(more)));
        for known in [r#"{"approved":["END"]}"#, r#"{"rejected":["END"]}"#] {
            assert_eq!(after(&with(known)), None);
        }
        assert!(approved("", "END").is_err() && approved("[]", "END").is_err());
    }

    #[test]
    fn a_lock_that_nobody_holds_any_more_is_taken_and_nothing_is_left() {
        let dir = std::env::temp_dir().join(format!("vmclaude-approve-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("mkdir");
        let file = dir.join(".claude.json");
        fs::write(&file, "{}").expect("write");
        let user = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        let lock = beside(&file, ".lock");
        fs::create_dir(&lock).expect("mkdir");
        assert!(approve(&file, "END", user).is_err(), "somebody holds it");
        let long_ago = std::time::SystemTime::now() - 2 * STALE;
        File::open(&lock).and_then(|lock| lock.set_modified(long_ago)).expect("utimes");
        approve(&file, "END", user).expect("it is written");
        assert!(fs::read_to_string(&file).expect("read").contains("END"));
        assert_eq!(fs::read_dir(&dir).expect("list").count(), 1);
        // A link leads nowhere.
        std::os::unix::fs::symlink(&file, dir.join("link")).expect("ln");
        assert!(approve(&dir.join("link"), "OTHER", user).is_err());
        fs::remove_dir_all(&dir).expect("rm");
    }
}
