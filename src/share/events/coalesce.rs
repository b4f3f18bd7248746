//! Joins happenings that belong together, so that the guest repeats as little as tells the same.

use super::{Happening, What};
use std::collections::HashMap;

/// A name in a directory.
pub(super) type Key = (u64, Vec<u8>);

/// What is left to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Create(Key),
    Write { key: Key, changed: bool, closed: bool },
    Attributes(Key),
    Delete(Key, bool),
    Rename { from: Key, to: Key, directory: bool },
}

impl Change {
    fn key(&self) -> &Key {
        match self {
            Change::Create(key) | Change::Attributes(key) | Change::Delete(key, _) | Change::Write { key, .. } => key,
            Change::Rename { to, .. } => to,
        }
    }
}

/// The changes that these happenings amount to, in order.
pub(super) fn changes(happenings: Vec<Happening>) -> Vec<Change> {
    let mut list = List::default();
    let mut moving: HashMap<u32, (Key, bool)> = HashMap::new();
    for Happening { dir, name, what, directory } in happenings {
        let key = (dir, name);
        match what {
            What::Created => list.push(Change::Create(key)),
            What::Changed => list.write(key, true, false),
            What::Closed => list.write(key, false, true),
            What::Attributes => list.attributes(key),
            What::Deleted => list.delete(key, directory),
            What::From(cookie) => drop(moving.insert(cookie, (key, directory))),
            What::To(cookie) => match moving.remove(&cookie) {
                Some((from, directory)) => list.rename(from, key, directory),
                None => list.push(Change::Create(key)),
            },
        }
    }
    // Gone to where nobody looks.
    let mut gone: Vec<_> = moving.into_values().collect();
    gone.sort();
    gone.into_iter().for_each(|(key, directory)| list.delete(key, directory));
    list.changes.into_iter().flatten().collect()
}

#[derive(Default)]
struct List {
    changes: Vec<Option<Change>>,
    /// Where the changes of a name are.
    of: HashMap<Key, Vec<usize>>,
}

impl List {
    fn push(&mut self, change: Change) {
        self.of.entry(change.key().clone()).or_default().push(self.changes.len());
        self.changes.push(Some(change));
    }

    fn last(&mut self, key: &Key) -> Option<&mut Change> {
        let at = *self.of.get(key)?.last()?;
        self.changes[at].as_mut()
    }

    fn write(&mut self, key: Key, now_changed: bool, now_closed: bool) {
        match self.last(&key) {
            Some(Change::Write { changed, closed, .. }) => {
                *changed |= now_changed;
                *closed |= now_closed;
            }
            _ => self.push(Change::Write { key, changed: now_changed, closed: now_closed }),
        }
    }

    fn attributes(&mut self, key: Key) {
        if !matches!(self.last(&key), Some(Change::Attributes(_))) {
            self.push(Change::Attributes(key));
        }
    }

    /// Takes back what was to be told of a name since it was made; whether it was made in this list.
    fn unsay(&mut self, key: &Key) -> bool {
        let mut at = self.of.remove(key).unwrap_or_default();
        while let Some(n) = at.pop() {
            match self.changes[n].take() {
                Some(Change::Create(_)) => {
                    self.of.insert(key.clone(), at);
                    return true;
                }
                // What came before is another file's.
                Some(kept @ (Change::Delete(..) | Change::Rename { .. })) => {
                    self.changes[n] = Some(kept);
                    at.push(n);
                    self.of.insert(key.clone(), at);
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    fn delete(&mut self, key: Key, directory: bool) {
        if !self.unsay(&key) {
            self.push(Change::Delete(key, directory));
        }
    }

    /// A file that was made in this list and renamed, as when it is saved aside: only the renaming is told.
    fn rename(&mut self, from: Key, to: Key, directory: bool) {
        self.unsay(&from);
        self.unsay(&to);
        self.push(Change::Rename { from, to, directory });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use What::{Attributes, Changed, Closed, Created, Deleted, From, To};

    fn told(happened: &[(&str, What)]) -> Vec<String> {
        let happening = |(name, what): &(&str, What)| Happening {
            dir: 1,
            name: name.as_bytes().to_vec(),
            what: *what,
            directory: name.ends_with('/'),
        };
        let name = |key: &Key| String::from_utf8(key.1.clone()).expect("text");
        let text = |change: &Change| match change {
            Change::Create(key) => format!("+{}", name(key)),
            Change::Write { key, changed, closed } => {
                format!("{}{}{}", if *changed { "~" } else { "" }, name(key), if *closed { "." } else { "" })
            }
            Change::Attributes(key) => format!("@{}", name(key)),
            Change::Delete(key, _) => format!("-{}", name(key)),
            Change::Rename { from, to, .. } => format!("{}>{}", name(from), name(to)),
        };
        changes(happened.iter().map(happening).collect()).iter().map(text).collect()
    }

    #[test]
    fn what_belongs_together_is_told_once() {
        type Test<'a> = (&'a [(&'a str, What)], &'a [&'a str]);
        let tests: [Test; 12] = [
            (&[("f", Changed), ("f", Changed), ("f", Closed)], &["~f."]),
            (&[("f", Changed), ("g", Changed), ("f", Closed)], &["~f.", "~g"]),
            (&[("f", Created), ("f", Changed), ("f", Closed)], &["+f", "~f."]),
            (&[("f", Closed)], &["f."]),
            (&[("f", Attributes), ("f", Attributes), ("f", Changed)], &["@f", "~f"]),
            (&[("f", Changed), ("f", Deleted)], &["-f"]),
            (&[("f", Created), ("f", Changed), ("f", Deleted)], &[]),
            (&[("f", Deleted), ("f", Created), ("f", Changed)], &["-f", "+f", "~f"]),
            (&[("f", Deleted), ("f", Created), ("f", Deleted)], &["-f"]),
            (&[("f", From(1)), ("g", To(1))], &["f>g"]),
            (
                &[("t", Created), ("t", Changed), ("t", Closed), ("t", From(7)), ("f", To(7)), ("f", Attributes)],
                &["t>f", "@f"],
            ),
            (&[("a", From(1)), ("b", To(2)), ("c", Created)], &["+b", "+c", "-a"]),
        ];
        for (happened, want) in tests {
            assert_eq!(told(happened), want, "{happened:?}");
        }
    }

    #[test]
    fn a_chain_of_names_keeps_its_order() {
        let chain = [("a", From(1)), ("b", To(1)), ("b", From(2)), ("c", To(2)), ("a", Created), ("c", Deleted)];
        assert_eq!(told(&chain), ["a>b", "b>c", "+a", "-c"]);
    }
}
