//! `vmclaude review`: what sessions changed of the files that run unasked; to put back, or to accept.

use crate::cli::args::Review;
use crate::enrollment::{only_a_person, open_root, project_or_here};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use crate::report::changes::{difference, name, take_back};
use crate::tripwire::change::Change;
use crate::tripwire::classes::Side;
use crate::tripwire::store::{Store, Waiting};
use crate::tripwire::{self, walk};
use std::fs::File;
use std::path::Path;
use vmclaude_shim::Identity;

/// Shows, restores or accepts.
///
/// # Errors
/// When Claude asks for more than to see, a file does not wait, or it cannot be restored.
pub(super) fn run(host: &Host, words: &Review) -> Result<Exit> {
    let project = project_or_here(host)?;
    let root = open_root(host, &project)?;
    let identity = Identity::of_open(&root).what(|| "cannot look at the project")?;
    let store = Store::open(&host.dirs.state, &identity.text())?;
    let roots = Roots { project: root, rest: &project.rest };
    if words.restore || words.accept {
        only_a_person(host, "review")?;
        return decide(&store, &roots, words);
    }
    show(&store, &roots, words)
}

struct Roots<'a> {
    project: File,
    rest: &'a Path,
}

impl Roots<'_> {
    fn of(&self, waiting: &Waiting, change: &Change) -> Result<File> {
        match change.side {
            Side::Project => self.project.try_clone().what(|| "cannot look at the project"),
            Side::Home => walk::open(&waiting.home).what(|| "cannot look at the guest's home"),
            Side::Git => walk::open(&waiting.git).what(|| "cannot look at the git directory outside of the project"),
        }
    }

    /// Whether a word names this change: as it is shown, or from the current directory.
    fn names(&self, word: &str, change: &Change) -> bool {
        let plain = word.strip_prefix("./").unwrap_or(word);
        let here = self.rest.join(plain);
        name(change) == word || change.side == Side::Project && here.to_str() == Some(&change.path)
    }
}

fn show(store: &Store, roots: &Roots<'_>, words: &Review) -> Result<Exit> {
    let waiting = store.waiting();
    let chosen = choose(&waiting, roots, &words.files)?;
    for change in &chosen {
        let now = roots.of(&waiting, change).ok().and_then(|root| tripwire::now(&root, change));
        let kept = |entry: &Option<_>| entry.as_ref().and_then(|entry| store.kept(entry));
        let text = if change.put_back {
            let file = change.after.as_ref().and_then(|entry| store.kept_at(entry));
            difference(change, now.as_deref(), kept(&change.after).as_deref())
                + &take_back(change, file.as_deref(), waiting.tree(change.side))
        } else {
            difference(change, kept(&change.before).as_deref(), now.as_deref())
        };
        report::text(&(text + "\n"))?;
    }
    // Also where nothing waits: that nothing was seen does not mean that nothing is there.
    if let Some(why) = waiting.skipped.or_else(|| store.last().project.skipped) {
        report::note(&format!("not every file was looked at ({why})"));
    }
    report::note(match chosen.len() {
        0 => "nothing waits for a review here",
        _ => "vmclaude review --restore FILE puts one back; vmclaude review --accept takes them all as they are",
    });
    Ok(Exit::OK)
}

fn decide(store: &Store, roots: &Roots<'_>, words: &Review) -> Result<Exit> {
    let mut restored = Vec::new();
    let left = store.change(|waiting| {
        let chosen = choose(waiting, roots, &words.files)?;
        let chosen = if words.restore { to_restore(chosen)? } else { chosen };
        for change in chosen {
            if words.restore {
                tripwire::restore(store, &roots.of(waiting, &change)?, &change)?;
                restored.push(name(&change));
            }
            waiting.changes.retain(|c| *c != change);
        }
        Ok(waiting.changes.len())
    })?;
    restored.iter().for_each(|file| report::note(&format!("restored {file}")));
    report::note(&match left {
        0 => "nothing waits for a review here any more".to_owned(),
        1 => "one file still waits (vmclaude review)".to_owned(),
        n => format!("{n} files still wait (vmclaude review)"),
    });
    Ok(Exit::OK)
}

/// Those of them that can be restored, in an order in which none undoes another: where two spellings are one file, what is removed
/// comes first.
fn to_restore(chosen: Vec<Change>) -> Result<Vec<Change>> {
    let (there, mut left): (Vec<Change>, Vec<Change>) = chosen.into_iter().partition(|change| change.put_back);
    if let Some(there) = there.iter().find(|t| !left.iter().any(|c| (c.side, &c.path) == (t.side, &t.path))) {
        return Err(Failure::usage(format!("{} was put back after the session already", name(there)))
            .because("what waits is the session's version, in case that it is yours")
            .next("vmclaude review   # how to have it; --accept forgets it"));
    }
    left.sort_by_key(|change| change.before.is_some());
    Ok(left)
}

/// The changes that are meant: all, or those of these files.
fn choose(waiting: &Waiting, roots: &Roots<'_>, files: &[String]) -> Result<Vec<Change>> {
    if files.is_empty() {
        return Ok(waiting.changes.clone());
    }
    let mut chosen = Vec::new();
    for file in files {
        let meant: Vec<Change> = waiting.changes.iter().filter(|change| roots.names(file, change)).cloned().collect();
        if meant.is_empty() {
            return Err(Failure::usage(format!("{file} does not wait for a review"))
                .because("no session changed it since it was last accepted, or it is no file that runs unasked")
                .next("vmclaude review"));
        }
        chosen.extend(meant);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tripwire::walk::Entry;

    #[test]
    fn what_was_put_back_is_not_restored_and_what_was_new_goes_first() {
        let entry = || Entry { why: String::new(), kind: "file".into(), mode: 0o644, sha: None, stamp: [0; 6] };
        let change = |path: &str, new: bool, put_back| {
            let before = (!new).then(entry);
            Change { side: Side::Project, path: path.into(), before, after: Some(entry()), put_back }
        };
        let all = vec![change("a", false, false), change("a", false, true), change("b", true, false)];
        let order: Vec<String> = to_restore(all).expect("can be").iter().map(|c| c.path.clone()).collect();
        assert_eq!(order, ["b", "a"]);
        let refused = to_restore(vec![change("a", false, true)]).expect_err("nothing to do");
        assert!(refused.what.contains("put back") && refused.code == 64, "{refused}");
    }
}
