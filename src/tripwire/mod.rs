//! The tripwire: what a session changed of the files that programs on the host run unasked. It forbids nothing; it knows
//! what was there before, says what is not any more, and keeps the bytes to put back.

mod beneath;
pub mod change;
pub mod classes;
mod found;
mod index;
pub mod names;
pub mod store;
pub mod walk;

use crate::error::{Context, Failure, Result};
use beneath::Was;
use change::{Change, between};
use classes::Side;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use store::{Begun, Snapshot, Store};
use tokio::sync::oneshot;
use walk::{Bounds, Found, walk};

/// The two trees of a session.
#[derive(Debug)]
pub struct Trees {
    /// The project's root, opened, and its path.
    pub project: (File, PathBuf),
    /// The guest's home, opened, and its path; `None`: it is not looked at.
    pub home: Option<(File, PathBuf)>,
}

/// A session that is watched.
pub struct Watch {
    store: Store,
    trees: Trees,
    first: JoinHandle<Result<(Snapshot, Begun)>>,
}

/// What a session changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The files.
    pub changes: Vec<Change>,
    /// What was not looked at.
    pub skipped: Option<String>,
    /// Those that were put back at once, and those of them that could not be, with the reason.
    pub put_back: Vec<(Change, Option<Failure>)>,
}

impl Watch {
    /// Starts the walk before the session, beside whatever else is started. The receiver hears when it is over: before that,
    /// nothing of the guest's may write.
    ///
    /// # Errors
    /// When the store cannot be opened or the trees cannot be read twice.
    pub fn start(state: &Path, identity: &str, trees: Trees) -> Result<(Watch, oneshot::Receiver<()>)> {
        let store = Store::open(state, identity)?;
        let (over, ready) = oneshot::channel();
        let (other, theirs) = (store.clone(), trees.again()?);
        let first = std::thread::spawn(move || {
            let before = look(&theirs, &other);
            // A run that was killed is finished now: what is there is what it left.
            for lost in other.unfinished() {
                other.finish(theirs.paths(), changes(&lost, &before), &before, None)?;
            }
            let begun = other.begin(&before)?;
            let _ = over.send(());
            Ok((before, begun))
        });
        Ok((Watch { store, trees, first }, ready))
    }

    /// Looks again, after the session. What lies at or below one of the `protected` paths of the project is put back: where
    /// the engine cannot keep the guest from changing it, this is the check.
    ///
    /// # Errors
    /// When the first walk failed, or what was found cannot be kept.
    pub fn finish(self, protected: &[PathBuf]) -> Result<Outcome> {
        let Watch { store, trees, first } = self;
        let first = first.join().map_err(|_| Failure::new("cannot look at the project's files"))?;
        let (before, begun) = first?;
        let mut after = look_from(&trees, &store, &before);
        let put_back = put_back(&store, &trees.project.0, changes(&before, &after), protected);
        if !put_back.is_empty() {
            after = look_from(&trees, &store, &before);
        }
        let changes = changes(&before, &after);
        let skipped = before.project.skipped.clone().or(after.project.skipped.clone());
        // Nobody can tell whether the guest did it or the user on the host, so nothing of it is lost.
        let put = put_back.iter().filter(|(_, failed)| failed.is_none());
        let waits = put.map(|(change, _)| Change { put_back: true, ..change.clone() }).chain(changes.clone()).collect();
        store.finish(trees.paths(), waits, &after, Some(begun))?;
        Ok(Outcome { changes, skipped, put_back })
    }
}

fn put_back(store: &Store, root: &File, changes: Vec<Change>, protected: &[PathBuf]) -> Vec<(Change, Option<Failure>)> {
    let lies_in = |change: &Change| {
        let path = names::bytes(&change.path).unwrap_or_default();
        let path = Path::new(std::ffi::OsStr::from_bytes(&path));
        change.side == Side::Project && protected.iter().any(|p| path.starts_with(p))
    };
    let restored = |change: Change| {
        let failed = restore(store, root, &change).err();
        (change, failed)
    };
    changes.into_iter().filter(lies_in).map(restored).collect()
}

impl Trees {
    fn again(&self) -> Result<Trees> {
        let again = |(file, path): &(File, PathBuf)| file.try_clone().map(|file| (file, path.clone()));
        let both = || -> std::io::Result<Trees> {
            Ok(Trees { project: again(&self.project)?, home: self.home.as_ref().map(again).transpose()? })
        };
        both().what(|| "cannot look at the project's files")
    }

    fn paths(&self) -> (&Path, &Path) {
        (&self.project.1, self.home.as_ref().map_or(Path::new(""), |(_, path)| path))
    }
}

fn look(trees: &Trees, store: &Store) -> Snapshot {
    let last = store.last();
    look_from(trees, store, &last)
}

fn look_from(trees: &Trees, store: &Store, known: &Snapshot) -> Snapshot {
    let mut keep = |sha: &str, bytes: &[u8]| store.keep(sha, bytes);
    let mut one = |side, (file, path): &(File, PathBuf), known: &Found| {
        walk(side, file, path.as_os_str().as_bytes(), Bounds::default(), &known.tree, &mut keep)
    };
    Snapshot {
        project: one(Side::Project, &trees.project, &known.project),
        home: trees.home.as_ref().map_or_else(Found::default, |home| one(Side::Home, home, &known.home)),
    }
}

/// What differs, and what could be seen both times: a walk says nothing about what it did not reach.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let side = |side, before: &Found, after: &Found| {
        let mut all = between(side, &before.tree, &after.tree);
        all.retain(|change| change.before.is_some() || !before.may_have_missed(&change.path));
        all.retain(|change| change.after.is_some() || !after.may_have_missed(&change.path));
        all
    };
    [side(Side::Project, &before.project, &after.project), side(Side::Home, &before.home, &after.home)].concat()
}

/// The bytes of the file of a change as it is now, if it is one that can be shown; of a link, where it leads.
pub fn now(root: &File, change: &Change) -> Option<Vec<u8>> {
    let path = names::bytes(&change.path)?;
    if change.after.as_ref().is_some_and(|entry| entry.kind == "link") {
        return beneath::link_at(root, &path).ok();
    }
    beneath::read_at(root, &path, found::KEPT).ok()?
}

/// Puts the file of a change back to what it was.
///
/// # Errors
/// When its bytes were not kept, it is a directory, or it cannot be written.
pub fn restore(store: &Store, root: &File, change: &Change) -> Result<()> {
    let what = || format!("cannot restore {}", change.path);
    let path = names::bytes(&change.path).ok_or_else(|| Failure::new(what()))?;
    let no_bytes = || {
        Failure::new(what())
            .because("its bytes were not kept: it is larger than 1 MiB, or no file")
            .next("vmclaude review   # and mend it by hand")
    };
    match &change.before {
        None if change.after.as_ref().is_some_and(|e| e.kind == "dir") => Err(Failure::new(what())
            .because("it is a directory, and directories are not removed with what is in them")
            .next(format!("rm -r {}", crate::files::quoted(Path::new(&change.path))))),
        None => beneath::remove(root, &path).what(what),
        Some(entry) => {
            let bytes = store.kept(entry).ok_or_else(no_bytes)?;
            let was = match entry.kind.as_str() {
                "file" => Was::File(&bytes, entry.mode),
                "link" => Was::Link(&bytes),
                _ => return Err(no_bytes()),
            };
            beneath::write(root, &path, &was).what(what)
        }
    }
}

#[cfg(test)]
mod tests;
