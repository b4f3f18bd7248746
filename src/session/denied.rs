//! What guests were refused lately, kept for `vmclaude status`: `denied.json` in the state directory.

use crate::error::{Context, Result};
use crate::files;
use crate::host::{Dirs, now};
use crate::net::{Denial, Denials, shown};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// How many are kept.
const KEPT: usize = 32;

/// How long another session may be at it. This one must not wait for one that hangs.
const LOCK_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When, in seconds since 1970.
    pub when: u64,
    /// The directory at `/workspace`.
    pub project: PathBuf,
    /// Where the guest wanted to go: `HOST:PORT`.
    pub target: String,
    /// Why it was refused, in words.
    pub why: String,
    /// The words of the command line or of the settings that would allow it; `null`: nothing would.
    pub allow: Option<String>,
}

/// Keeps what a session refuses while it runs, in a thread: to write until it is on the disk takes time, and a guest that
/// scans would have everybody else wait for it.
#[derive(Debug)]
pub struct Keeper {
    /// `None`: it is over.
    tell: mpsc::Sender<Option<Denial>>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// For the sessions of this project; what is noted in the denials is kept.
    pub fn start(dirs: Dirs, project: PathBuf) -> (Denials, Keeper) {
        let (tell, told) = mpsc::channel::<Option<Denial>>();
        let thread = std::thread::spawn(move || {
            while let Ok(Some(first)) = told.recv() {
                let (mut new, mut over) = (vec![first], false);
                while let Ok(next) = told.try_recv() {
                    match next {
                        Some(denial) => new.push(denial),
                        None => over = true,
                    }
                }
                if let Err(e) = keep(&dirs, &project, &new) {
                    tracing::warn!("{e}");
                }
                if over {
                    return;
                }
            }
        });
        let sender = tell.clone();
        let denials = Denials::told(move |all| {
            // Nobody hears it when all is over.
            let _ = sender.send(all.last().cloned());
        });
        (denials, Keeper { tell, thread })
    }

    /// Waits until all is kept.
    pub fn finish(self) {
        let _ = self.tell.send(None);
        let _ = self.thread.join();
    }
}

/// Adds refusals, instead of older ones of the same.
///
/// # Errors
/// When the file cannot be written.
fn keep(dirs: &Dirs, project: &Path, denials: &[Denial]) -> Result<()> {
    files::private_dir(&dirs.state)?;
    let _lock = files::lock_within(&dirs.state.join("denied.lock"), LOCK_LIMIT)?;
    let when = now();
    let mut all = last(dirs);
    for denial in denials {
        let (target, why) = (shown(&denial.target), denial.why.to_owned());
        let new = Refused { when, project: project.to_path_buf(), target, why, allow: denial.remedy() };
        all.retain(|old| (&old.target, &old.project) != (&new.target, &new.project));
        all.push(new);
    }
    let text = serde_json::to_vec(&all[all.len().saturating_sub(KEPT)..]).what(|| "cannot write what was refused")?;
    files::write_atomic(&file(dirs), &text, 0o600)
}

/// The last refusals, the newest at the end; none when there is no such file, or it is damaged.
pub fn last(dirs: &Dirs) -> Vec<Refused> {
    std::fs::read(file(dirs)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn file(dirs: &Dirs) -> PathBuf {
    dirs.state.join("denied.json")
}

#[cfg(test)]
mod tests {
    use super::{KEPT, keep, last};
    use crate::net::Denial;
    use std::path::Path;
    use vmclaude_init::wire::proto::Target;

    #[test]
    fn the_last_refusals_are_kept_once_each() {
        let state = tempfile::tempdir().expect("dir");
        let mut dirs = crate::host::tests::host().dirs;
        dirs.state = state.path().to_path_buf();
        assert_eq!(last(&dirs), []);
        let denial = |n: u16| {
            let target = Target::Addr([10, 0, 0, 1].into(), n);
            Denial { target, addr: Some(([10, 0, 0, 1], n).into()), why: "a private network" }
        };
        for n in [1, 2, 1].into_iter().chain(3..20) {
            keep(&dirs, Path::new("/p"), &[denial(n)]).expect("written");
        }
        keep(&dirs, Path::new("/p"), &(20..60).map(denial).collect::<Vec<_>>()).expect("written");
        let all = last(&dirs);
        assert_eq!((all.len(), all[KEPT - 1].target.as_str()), (KEPT, "10.0.0.1:59"));
        assert_eq!(all[0].allow.as_deref(), Some("[network] allow_local = [\"10.0.0.1\"]"));
        std::fs::write(state.path().join("denied.json"), "{").expect("write");
        assert_eq!(last(&dirs), []);
    }
}
