//! What the tripwire keeps between runs, below the state directory: the last walk, what waits for a review, and the bytes of
//! listed files. One directory for each project, by its identity.

use super::change::{Change, merge};
use super::checked::Checked;
use super::classes::Side;
use super::found::{Entry, Found, sha};
use crate::error::{Context, Failure, Result};
use crate::files::{LOCK_LIMIT, Lock, lock_within, private_dir, share_within, try_lock, write_atomic};
use crate::hook::PENDING;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Both trees, as they were at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The project.
    pub project: Found,
    /// The guest's home.
    pub home: Found,
    /// What is only checked.
    #[serde(default)]
    pub checked: Checked,
}

impl Snapshot {
    /// Every listed file.
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let all = [&self.project, &self.home, &self.checked.project, &self.checked.git];
        all.into_iter().flat_map(|found| found.tree.values())
    }
}

/// Where the trees of a session are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots<'a> {
    /// The project.
    pub project: &'a Path,
    /// The guest's home.
    pub home: PathBuf,
    /// The git directory outside of the project, if the session had one.
    pub git: Option<PathBuf>,
}

/// What waits for a review.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Where the project is.
    pub root: PathBuf,
    /// Where the guest's home is.
    pub home: PathBuf,
    /// Where the git directory outside of the project is; empty: nothing of it waits.
    #[serde(default)]
    pub git: PathBuf,
    /// What changed, in the order of the paths.
    pub changes: Vec<Change>,
    /// What a walk did not see.
    pub skipped: Option<String>,
}

impl Waiting {
    /// Where the tree of this side is.
    pub fn tree(&self, side: Side) -> &Path {
        match side {
            Side::Project => &self.root,
            Side::Home => &self.home,
            Side::Git => &self.git,
        }
    }
}

/// The directory of one project.
#[derive(Debug, Clone)]
pub struct Store {
    state: PathBuf,
    dir: PathBuf,
}

impl Store {
    /// The store of the project with this identity.
    ///
    /// # Errors
    /// When its directory cannot be made or trusted.
    pub fn open(state: &Path, identity: &str) -> Result<Store> {
        let dir = state.join("review").join(identity.replace(':', "-"));
        private_dir(state)?;
        private_dir(&state.join("review"))?;
        private_dir(&dir)?;
        private_dir(&dir.join("kept"))?;
        Ok(Store { state: state.to_path_buf(), dir })
    }

    /// What waits for a review of the project with this identity, for who only looks: nothing is made for it.
    pub fn look(state: &Path, identity: &str) -> Option<Waiting> {
        read(&state.join("review").join(identity.replace(':', "-")).join("waiting.json"))
    }

    fn lock(&self) -> Result<Lock> {
        lock_within(&self.dir.join("lock"), LOCK_LIMIT)
    }

    /// Held over all of a first walk: what was killed is put back by one, and whoever starts beside it looks afterwards. Who has
    /// waited for one that hangs goes on without: the notes are still there, and say what is not to be believed.
    pub(super) fn first_walk(&self) -> Option<Lock> {
        lock_within(&self.dir.join("first.lock"), LOCK_LIMIT).inspect_err(warn).ok()
    }

    /// Held by who looks, together with others, until what was kept is named by a note or by what waits: so long nobody forgets
    /// bytes. A look is never given up for it.
    pub(super) fn keeping(&self) -> Option<Lock> {
        share_within(&self.dir.join("keeping.lock"), LOCK_LIMIT).inspect_err(warn).ok()
    }

    /// What the last walk found; nothing when there was none, or it cannot be read: then everything is read again.
    pub fn last(&self) -> Snapshot {
        read(&self.dir.join("last.json")).unwrap_or_default()
    }

    /// Keeps the bytes of a listed file under their hash.
    pub fn keep(&self, sha: &str, bytes: &[u8]) {
        let file = self.dir.join("kept").join(sha);
        if !file.exists() && write_aside(&file, bytes).is_err() {
            tracing::warn!("cannot keep a file for a review");
        }
    }

    /// The bytes that were kept, if they are what they were.
    pub fn kept(&self, entry: &Entry) -> Option<Vec<u8>> {
        let hash = entry.sha.as_ref()?;
        std::fs::read(self.dir.join("kept").join(hash)).ok().filter(|bytes| sha(bytes) == *hash)
    }

    /// The file with the bytes of a listed file, if they are there and what they were.
    pub fn kept_at(&self, entry: &Entry) -> Option<PathBuf> {
        self.kept(entry)?;
        Some(self.dir.join("kept").join(entry.sha.as_ref()?))
    }

    /// Notes the state before a run, in a file that its process holds locked: a run that is killed is finished by the next.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self, before: &Snapshot) -> Result<Begun> {
        let name = format!("before-{}-{}", std::process::id(), fresh());
        let lock = lock_within(&self.dir.join(format!("{name}.lock")), LOCK_LIMIT)?;
        write(&self.dir.join(format!("{name}.json")), before)?;
        Ok(Begun { name, _lock: lock })
    }

    /// The states before runs that were killed, with their notes. Each note stays until its run is [finished](Store::finish):
    /// whoever is killed before that leaves it to the next, and who starts meanwhile still finds it.
    pub fn unfinished(&self) -> Vec<(Snapshot, Begun)> {
        let mut found = Vec::new();
        for path in self.notes() {
            let (Ok(Some(lock)), Some(name)) = (try_lock(&path.with_extension("lock")), path.file_stem()) else {
                continue;
            };
            let note = Begun { name: name.to_string_lossy().into_owned(), _lock: lock };
            match read(&path) {
                Some(before) => found.push((before, note)),
                None => self.remove(&note),
            }
        }
        found
    }

    fn remove(&self, note: &Begun) {
        let _ = std::fs::remove_file(self.dir.join(format!("{}.json", note.name)));
        let _ = std::fs::remove_file(self.dir.join(format!("{}.lock", note.name)));
    }

    /// What is checked for the sessions that run or are not finished, as it was before them.
    pub(super) fn running(&self) -> Vec<Checked> {
        self.notes().iter().filter_map(|path| Some(read::<Snapshot>(path)?.checked)).collect()
    }

    /// The states before runs that are not finished.
    fn notes(&self) -> Vec<PathBuf> {
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|e| e.path());
        let is_note = |path: &PathBuf| {
            path.extension().is_some_and(|e| e == "json")
                && path.file_stem().is_some_and(|s| s.as_encoded_bytes().starts_with(b"before-"))
        };
        names.filter(is_note).collect()
    }

    /// What waits for a review.
    pub fn waiting(&self) -> Waiting {
        read(&self.dir.join("waiting.json")).unwrap_or_default()
    }

    /// Ends a run: what it changed waits together with what waited before, the next walk has `after` to go by, and only then its
    /// note is gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, roots: Roots<'_>, changes: Vec<Change>, after: &Snapshot, begun: Begun) -> Result<()> {
        let _held = self.lock()?;
        let old = self.waiting();
        let skipped = after.project.skipped.clone().or(after.home.skipped.clone()).or(old.skipped);
        let changes = merge(old.changes, changes);
        let skipped = skipped.filter(|_| !changes.is_empty());
        let (root, git) = (roots.project.to_path_buf(), roots.git.unwrap_or(old.git));
        self.put(&Waiting { root, home: roots.home, git, changes, skipped })?;
        write(&self.dir.join("last.json"), after)?;
        self.remove(&begun);
        Ok(())
    }

    /// Changes what waits, under the lock.
    ///
    /// # Errors
    /// When it cannot be written, or `change` fails: then nothing is changed.
    pub fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> Result<T>) -> Result<T> {
        let _held = self.lock()?;
        let mut waiting = self.waiting();
        let answer = change(&mut waiting)?;
        self.put(&waiting)?;
        Ok(answer)
    }

    fn put(&self, waiting: &Waiting) -> Result<()> {
        let file = self.dir.join("waiting.json");
        if waiting.changes.is_empty() {
            let _ = std::fs::remove_file(&file);
        } else {
            write(&file, waiting)?;
        }
        list(&self.state)
    }

    /// Forgets kept bytes that nothing needs any more; later, when somebody looks just now.
    pub fn forget(&self) {
        let Ok(Some(_alone)) = try_lock(&self.dir.join("keeping.lock")) else { return };
        let (waiting, last) = (self.waiting(), self.last());
        // Sessions that run will want what they saw.
        let running: Vec<Snapshot> = self.notes().iter().filter_map(|path| read(path)).collect();
        let waits = waiting.changes.iter().flat_map(|c| [&c.before, &c.after]).flatten();
        let listed = running.iter().chain([&last]).flat_map(Snapshot::entries);
        let needed: BTreeSet<&str> = waits.chain(listed).filter_map(|e| e.sha.as_deref()).collect();
        for file in std::fs::read_dir(self.dir.join("kept")).into_iter().flatten().flatten() {
            if file.file_name().to_str().is_none_or(|name| !needed.contains(name)) {
                let _ = std::fs::remove_file(file.path());
            }
        }
    }
}

fn warn(failure: &Failure) {
    tracing::warn!("{}", failure.what);
}

/// The note of a run that is not finished, held.
pub struct Begun {
    name: String,
    _lock: Lock,
}

/// Writes the list for the prompt hooks. It is there only when something waits, so that they need not read it.
fn list(state: &Path) -> Result<()> {
    let _held = lock_within(&state.join("review/lock"), LOCK_LIMIT)?;
    let stores = std::fs::read_dir(state.join("review")).into_iter().flatten().flatten();
    let roots: BTreeSet<PathBuf> =
        stores.filter_map(|s| Some(read::<Waiting>(&s.path().join("waiting.json"))?.root)).collect();
    let file = state.join(PENDING);
    if roots.is_empty() {
        let _ = std::fs::remove_file(&file);
        return Ok(());
    }
    let lines: Vec<u8> = roots.iter().flat_map(|root| [root.as_os_str().as_bytes(), b"\n"].concat()).collect();
    write_atomic(&file, &lines, 0o600)
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn write<T: Serialize>(file: &Path, value: &T) -> Result<()> {
    let what = || format!("cannot write {}", file.display());
    write_aside(file, &serde_json::to_vec(value).what(what)?).what(what)
}

/// As [`write_atomic`], without waiting for the disk: after a power cut a review starts anew.
fn write_aside(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut aside = tempfile::Builder::new().prefix(".aside-").tempfile_in(file.parent().unwrap_or(Path::new("/")))?;
    std::io::Write::write_all(&mut aside, bytes)?;
    aside.persist(file).map_err(|e| e.error)?;
    Ok(())
}

/// A number that this process did not use yet.
fn fresh() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
