//! The tripwire: what a session changed of the files that programs on the host run unasked. It forbids nothing; it knows
//! what was there before, says what is not any more, and keeps the bytes to put back.

mod beneath;
pub mod change;
mod checked;
pub mod classes;
mod found;
mod index;
pub mod names;
mod put_back;
pub mod store;
pub mod walk;

use crate::error::{Context, Failure, Result};
use beneath::Was;
use change::{Change, between, merge};
pub use checked::Protected;
use checked::{Checked, Outside};
use classes::Side;
use put_back::Hand;
pub use put_back::PutBack;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use store::{Begun, Roots, Snapshot, Store};
use tokio::sync::oneshot;
use walk::{Bounds, Found, walk};

/// The trees of a session.
#[derive(Debug)]
pub struct Trees {
    /// The project's root, opened, and its path.
    pub project: (File, PathBuf),
    /// The guest's home, opened, and its path; `None`: it is not looked at.
    pub home: Option<(File, PathBuf)>,
    /// The git directory outside of the project, opened, and its path. Only what is protected of it is looked at.
    pub git: Option<(File, PathBuf)>,
    /// What the engine cannot keep the guest from changing: it is looked at afterwards, and put back.
    pub protected: Protected,
}

/// A session that is watched.
pub struct Watch {
    store: Store,
    trees: Trees,
    first: JoinHandle<Result<First>>,
}

/// What is known before a session.
struct First {
    before: Snapshot,
    begun: Begun,
    /// What sessions that were killed had left.
    put_back: Vec<PutBack>,
}

/// What a session changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The files.
    pub changes: Vec<Change>,
    /// What was not looked at.
    pub skipped: Option<String>,
    /// What of the protected paths could not be checked.
    pub unchecked: Option<String>,
    /// Those that were put back at once, or could not be.
    pub put_back: Vec<PutBack>,
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
            let first = first(&other, &theirs)?;
            let _ = over.send(());
            Ok(first)
        });
        Ok((Watch { store, trees, first }, ready))
    }

    /// Looks again, after the session, and puts back what is protected.
    ///
    /// # Errors
    /// When the first walk failed, or what was found cannot be kept.
    pub fn finish(self) -> Result<Outcome> {
        let Watch { store, trees, first } = self;
        let first = first.join().map_err(|_| Failure::new("cannot look at the project's files"))?;
        let First { before, begun, put_back: mut all } = first?;
        let keeping = store.keeping();
        let (after, put_back) = settle(&store, &trees, &before, &before, false);
        let changes = changes(&before, &after);
        let skipped = before.project.skipped.clone().or(after.project.skipped.clone());
        let unchecked = [&before, &after].into_iter().find_map(|seen| seen.checked.skipped());
        store.finish(trees.roots(), waits(&put_back, &changes), &after, begun)?;
        drop(keeping);
        store.forget();
        all.extend(put_back);
        Ok(Outcome { changes, skipped, unchecked, put_back: all })
    }
}

/// The first walk, one at a time.
fn first(store: &Store, trees: &Trees) -> Result<First> {
    let _alone = store.first_walk();
    look_first(store, trees)
}

/// Finishes what was killed, and looks at everything before a session. (That it is alone keeps two from putting the same back.)
fn look_first(store: &Store, trees: &Trees) -> Result<First> {
    let _keeping = store.keeping();
    let mut before = None;
    let mut put_back = Vec::new();
    // A run that was killed is finished now: what is there is what it left.
    for (lost, note) in store.unfinished() {
        let theirs = trees.of_lost(&lost.checked)?;
        let (after, put) = settle(store, &theirs, &lost, before.as_ref().unwrap_or(&store.last()), true);
        store.finish(theirs.roots(), waits(&put, &changes(&lost, &after)), &after, note)?;
        put_back.extend(put);
        before = Some(after);
    }
    let early = store.running();
    let mut before = match before {
        Some(after) if put_back.is_empty() => Snapshot { checked: look_checked(trees, store), ..after },
        after => look_from(trees, store, after.as_ref().unwrap_or(&store.last())),
    };
    // What is there may be another guest's deed, for as long as that one runs.
    early.iter().chain(&store.running()).for_each(|other| before.checked.inherit(other));
    let begun = store.begin(&before)?;
    Ok(First { before, begun, put_back })
}

/// Puts back what is protected, and looks at everything; `known` is what was found the last time.
fn settle(store: &Store, trees: &Trees, before: &Snapshot, known: &Snapshot, lost: bool) -> (Snapshot, Vec<PutBack>) {
    if before.checked.protected == Protected::default() {
        return (look_from(trees, store, known), Vec::new());
    }
    let git = trees.git.as_ref().map(|(file, _)| file);
    let hand = Hand { store, project: &trees.project.0, git, lost };
    let mut all = hand.clear(&before.checked, &look_checked(trees, store));
    all.extend(hand.put_back_named(&before.checked, &look_checked(trees, store), &all));
    let after = look_from(trees, store, known);
    all.extend(hand.put_back(hand.respelt(&before.checked.protected, &changes(before, &after))));
    match all.is_empty() {
        true => (after, all),
        false => (look_from(trees, store, &after), all),
    }
}

/// What waits for a review after a session. Nobody can tell whether the guest changed what is protected or the user on the host, so
/// what was put back waits as well.
fn waits(put_back: &[PutBack], changes: &[Change]) -> Vec<Change> {
    let put = put_back.iter().filter(|put| put.failed.is_none() && put.aside.is_none()).map(|put| &put.change);
    put.chain(changes).cloned().collect()
}

impl Trees {
    fn again(&self) -> Result<Trees> {
        let again = |(file, path): &(File, PathBuf)| file.try_clone().map(|file| (file, path.clone()));
        let all = || -> std::io::Result<Trees> {
            let home = self.home.as_ref().map(again).transpose()?;
            let git = self.git.as_ref().map(again).transpose()?;
            Ok(Trees { project: again(&self.project)?, home, git, protected: self.protected.clone() })
        };
        all().what(|| "cannot look at the project's files")
    }

    /// The same, with what was protected for a session that was killed.
    fn of_lost(&self, lost: &Checked) -> Result<Trees> {
        let git = lost.outside.as_ref().and_then(|outside| {
            let file = walk::open(&outside.path).ok()?;
            let same = file.metadata().is_ok_and(|meta| meta.ino() == outside.ino);
            same.then(|| (file, outside.path.clone()))
        });
        Ok(Trees { git, protected: lost.protected.clone(), ..self.again()? })
    }

    fn roots(&self) -> Roots<'_> {
        let path = |tree: &'_ Option<(File, PathBuf)>| tree.as_ref().map(|(_, path)| path.clone());
        Roots { project: &self.project.1, home: path(&self.home).unwrap_or_default(), git: path(&self.git) }
    }
}

fn look_from(trees: &Trees, store: &Store, known: &Snapshot) -> Snapshot {
    let checked = look_checked(trees, store);
    let mut keep = |sha: &str, bytes: &[u8]| store.keep(sha, bytes);
    let mut one = |side, (file, path): &(File, PathBuf), known: &Found| {
        walk(side, file, path.as_os_str().as_bytes(), Bounds::default(), &known.tree, &mut keep)
    };
    Snapshot {
        project: one(Side::Project, &trees.project, &known.project),
        home: trees.home.as_ref().map_or_else(Found::default, |home| one(Side::Home, home, &known.home)),
        checked,
    }
}

fn look_checked(trees: &Trees, store: &Store) -> Checked {
    let mut keep = |sha: &str, bytes: &[u8]| store.keep(sha, bytes);
    let mut one = |side, tree: Option<&(File, PathBuf)>| match (tree, trees.protected.of(side)) {
        (_, []) => Found::default(),
        (Some((file, _)), paths) => checked::look(side, file, paths, &mut keep),
        (None, _) => {
            let mut found = Found::default();
            found.end(b"", "the git directory outside of the project is not there");
            found
        }
    };
    Checked {
        protected: trees.protected.clone(),
        project: one(Side::Project, Some(&trees.project)),
        git: one(Side::Git, trees.git.as_ref()),
        outside: trees
            .git
            .as_ref()
            .and_then(|(file, path)| Some(Outside { path: path.clone(), ino: file.metadata().ok()?.ino() })),
    }
}

/// What differs, and what could be seen both times: a walk says nothing about what it did not reach. Of what is protected counts how it
/// was found by its own name.
fn changes(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let side = |side, before: &Found, after: &Found| {
        let mut all = between(side, &before.tree, &after.tree);
        all.retain(|change| change.before.is_some() || !before.may_have_missed(&change.path));
        all.retain(|change| change.after.is_some() || !after.may_have_missed(&change.path));
        all
    };
    let walked = [side(Side::Project, &before.project, &after.project), side(Side::Home, &before.home, &after.home)];
    let of_walk = |change: &Change| !put_back::is_named(&before.checked.protected, change);
    let walked = walked.concat().into_iter().filter(of_walk);
    merge(put_back::differs(&before.checked, &after.checked), walked.collect())
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
        // Whatever it was when the session was over: what counts is what is there now.
        None if beneath::is_dir_at(root, &path) => Err(Failure::new(what())
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
