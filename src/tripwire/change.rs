//! What changed between two walks, and how changes add up until somebody looks at them. Pure.

use super::classes::Side;
use super::walk::{Entry, Tree};
use serde::{Deserialize, Serialize};

/// One listed file that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// In which tree.
    pub side: Side,
    /// Its path there, as text.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub before: Option<Entry>,
    /// What it is; `None`: it is gone.
    pub after: Option<Entry>,
    /// It is as before again, because it is protected: `after` is what it was when the session was over, and nowhere now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_back: bool,
}

impl Change {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match (&self.before, &self.after) {
            _ if self.put_back => "put back",
            (None, _) => "new",
            (_, None) => "gone",
            _ => "changed",
        }
    }

    /// Why the file is listed.
    pub fn why(&self) -> &str {
        self.after.as_ref().or(self.before.as_ref()).map_or("", |entry| &entry.why)
    }

    fn is_none(&self) -> bool {
        same(self.before.as_ref(), self.after.as_ref())
    }
}

fn same(a: Option<&Entry>, b: Option<&Entry>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.is_like(b),
        (None, None) => true,
        _ => false,
    }
}

/// Every file that differs between the two walks, by path.
pub fn between(side: Side, before: &Tree, after: &Tree) -> Vec<Change> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let mut paths: Vec<&String> = after.keys().chain(gone).collect();
    paths.sort();
    let change = |path: &String| Change {
        side,
        path: path.clone(),
        before: before.get(path).cloned(),
        after: after.get(path).cloned(),
        put_back: false,
    };
    paths.into_iter().map(change).filter(|c| !c.is_none()).collect()
}

/// What waits after `more` came to it: the oldest `before` and the newest `after` of each file; what is as it was waits no
/// more. Of what was put back each version waits for itself: it may be somebody's work, and the next one is another's.
pub fn merge(waiting: Vec<Change>, more: Vec<Change>) -> Vec<Change> {
    let mut all = waiting;
    for new in more {
        let meant = |c: &&mut Change| {
            let other_version = new.put_back && !same(c.after.as_ref(), new.after.as_ref());
            c.side == new.side && c.path == new.path && c.put_back == new.put_back && !other_version
        };
        match all.iter_mut().find(meant) {
            Some(old) => old.after = new.after,
            None => all.push(new),
        }
    }
    all.retain(|c| !c.is_none());
    all.sort_by(|a, b| (a.side, &a.path).cmp(&(b.side, &b.path)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sha: &str) -> Entry {
        Entry { why: "make".into(), kind: "file".into(), mode: 0o644, sha: Some(sha.into()), stamp: [0; 6] }
    }

    fn tree(files: &[(&str, &str)]) -> Tree {
        files.iter().map(|(path, sha)| ((*path).to_owned(), entry(sha))).collect()
    }

    #[test]
    fn what_is_new_changed_and_gone_is_found_and_adds_up() {
        let (a, b) = (
            tree(&[("same", "1"), ("changed", "1"), ("gone", "1")]),
            tree(&[("same", "1"), ("changed", "2"), ("new", "1")]),
        );
        let first = between(Side::Project, &a, &b);
        assert_eq!(
            first.iter().map(|c| (c.path.as_str(), c.word())).collect::<Vec<_>>(),
            [("changed", "changed"), ("gone", "gone"), ("new", "new")]
        );
        let second = between(Side::Project, &b, &tree(&[("same", "1"), ("changed", "3"), ("gone", "1")]));
        let all = merge(first, second);
        assert_eq!(all.len(), 1, "what came and went, or came back, waits for nobody: {all:?}");
        assert_eq!((all[0].before.clone(), all[0].after.clone()), (Some(entry("1")), Some(entry("3"))));
        let mode = Entry { mode: 0o755, ..entry("1") };
        assert_eq!(
            between(Side::Home, &a, &Tree::from([("same".into(), mode)])).iter().filter(|c| c.path == "same").count(),
            1
        );
    }

    #[test]
    fn every_version_that_was_put_back_waits_for_itself() {
        let put_back = |sha: &str| Change {
            side: Side::Project,
            path: ".git/config".into(),
            before: Some(entry("mine")),
            after: Some(entry(sha)),
            put_back: true,
        };
        let waits =
            merge(vec![put_back("a")], vec![put_back("b"), put_back("a"), Change { put_back: false, ..put_back("c") }]);
        let seen: Vec<_> = waits.iter().map(|c| (c.put_back, c.after.clone().and_then(|e| e.sha))).collect();
        assert_eq!(seen, [(true, "a"), (true, "b"), (false, "c")].map(|(p, sha)| (p, Some(sha.to_owned()))));
    }
}
