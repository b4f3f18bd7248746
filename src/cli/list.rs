//! `vmclaude list`: the enrolled directories and their state.

use crate::cli::args::Output;
use crate::enrollment::shown;
use crate::enrollment::store::read;
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use vmclaude_shim::Identity;
use vmclaude_shim::registry::Entry;

/// The answer of `vmclaude list --json`. `version` changes when a field's meaning does.
#[derive(Debug, Serialize)]
struct Answer {
    version: u32,
    trees: Vec<Tree>,
}

#[derive(Debug, Serialize)]
struct Tree {
    /// Where it was enrolled.
    path: String,
    state: State,
    /// Where it is now, when it was moved and that was found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<String>,
}

/// What has become of an enrolled directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// There, and the same.
    Ok,
    /// The same directory is elsewhere.
    Moved,
    /// There is nothing at its path.
    Gone,
    /// There is another directory at its path.
    Replaced,
    /// It cannot be looked at.
    Unreadable,
}

/// Prints every enrolled directory.
///
/// # Errors
/// When the registry cannot be trusted or stdout cannot be written.
pub(super) fn run(host: &Host, output: &Output) -> Result<Exit> {
    let trees: Vec<Tree> = read(&host.dirs.state)?.iter().map(|entry| tree(entry, host)).collect();
    if output.json {
        let answer = Answer { version: 1, trees };
        report::json(&answer)?;
        return Ok(Exit::OK);
    }
    if trees.is_empty() {
        report::note("no directory is enrolled (vmclaude enroll DIR)");
    }
    for tree in &trees {
        report::text(&format!("{}\n", line(tree)))?;
    }
    Ok(Exit::OK)
}

fn line(tree: &Tree) -> String {
    let path = shown(Path::new(&tree.path));
    match (tree.state, &tree.now) {
        (State::Ok, _) => format!("ok          {path}"),
        (State::Moved, Some(now)) => format!("moved       {path} -> {}", shown(Path::new(now))),
        (State::Moved | State::Gone, _) => format!("gone        {path}"),
        (State::Replaced, _) => format!("replaced    {path} (claude refuses there: vmclaude enroll or unenroll it)"),
        (State::Unreadable, _) => format!("unreadable  {path}"),
    }
}

fn tree(entry: &Entry, host: &Host) -> Tree {
    let state = match Identity::of(&entry.path) {
        Ok(now) if now.same_as(&entry.identity) => State::Ok,
        Ok(_) => State::Replaced,
        Err(e) if e.kind() == ErrorKind::NotFound || e.kind() == ErrorKind::NotADirectory => State::Gone,
        Err(_) => State::Unreadable,
    };
    let now = (state != State::Ok).then(|| moved_to(entry, host)).flatten();
    let state = if now.is_some() && state == State::Gone { State::Moved } else { state };
    Tree { path: entry.path.to_string_lossy().into_owned(), state, now: now.map(|p| p.to_string_lossy().into_owned()) }
}

/// Where the directory itself is now, when it is no longer at its path: most moves are a new name in the same directory, or led to
/// where the user stands now. Another name of it, by a link, is no move.
pub(super) fn moved_to(entry: &Entry, host: &Host) -> Option<PathBuf> {
    if !entry.identity.is_distinctive() {
        return None;
    }
    let siblings = std::fs::read_dir(entry.path.parent()?).into_iter().flatten().flatten().map(|e| e.path());
    let above = host.cwd.iter().flat_map(|cwd| cwd.ancestors()).map(Path::to_path_buf);
    let is_it = |path: &PathBuf| path.is_dir() && Identity::of(path).is_ok_and(|id| id == entry.identity);
    let here = std::fs::canonicalize(&entry.path).unwrap_or_else(|_| entry.path.clone());
    above.chain(siblings).filter(is_it).filter_map(|path| std::fs::canonicalize(path).ok()).find(|path| *path != here)
}
