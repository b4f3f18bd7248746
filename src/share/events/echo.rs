//! What the guest did itself: it comes back as something that happened on the host, and must not be told again.
//!
//! Names are counted: whatever the guest does to one happens once, in order. Contents and attributes are compared: as long
//! as a file is as the guest left it, nobody else has changed it.

use super::What;
use super::coalesce::Key;
use crate::share::bounded::Identity;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How a file was left: size, modification and change of the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) modified: (u64, u32),
    pub(super) changed: (u64, u32),
}

/// After this an act of the guest that nobody saw will not be seen any more: its directory was not watched yet.
const LOST: Duration = Duration::from_secs(5);
/// At how many entries what is older than that is thrown away for the first time.
const MANY: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Echo {
    names: Sweeping<Key, VecDeque<(Kind, Instant)>>,
    left: Sweeping<Identity, (Stamp, Instant)>,
}

/// A table that is gone through each time it has doubled: a guest that unpacks a large tree does not pay for all of it with
/// each file.
#[derive(Debug)]
struct Sweeping<K, V> {
    table: HashMap<K, V>,
    limit: usize,
}

impl<K, V> Default for Sweeping<K, V> {
    fn default() -> Sweeping<K, V> {
        Sweeping { table: HashMap::new(), limit: MANY }
    }
}

impl<K: Eq + Hash, V> Sweeping<K, V> {
    /// The table, without what is older than [`LOST`] if it was time to look.
    fn swept(&mut self, now: Instant, at: impl Fn(&V) -> Option<Instant>) -> &mut HashMap<K, V> {
        if self.table.len() >= self.limit {
            self.table.retain(|_, value| at(value).is_some_and(|at| now.duration_since(at) < LOST));
            self.limit = MANY.max(self.table.len() * 2);
        }
        &mut self.table
    }
}

/// What happened to a name, whatever the number of a renaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Created,
    Deleted,
    From,
    To,
}

impl Kind {
    fn of(what: What) -> Option<Kind> {
        match what {
            What::Created => Some(Kind::Created),
            What::Deleted => Some(Kind::Deleted),
            What::From(_) => Some(Kind::From),
            What::To(_) => Some(Kind::To),
            What::Changed | What::Closed | What::Attributes => None,
        }
    }
}

impl Echo {
    /// The guest did this to a name.
    pub(super) fn did(&mut self, key: Key, kind: Kind) {
        let now = Instant::now();
        let names = self.names.swept(now, |acts| acts.back().map(|(_, at)| *at));
        names.entry(key).or_default().push_back((kind, now));
    }

    /// The guest left a file so.
    pub(super) fn left(&mut self, file: Identity, stamp: Stamp) {
        let now = Instant::now();
        self.left.swept(now, |(_, at)| Some(*at)).insert(file, (stamp, now));
    }

    /// Whether the guest has changed a file.
    pub(super) fn has_left(&self, file: Identity) -> bool {
        self.left.table.contains_key(&file)
    }

    /// Whether the guest did it to this name.
    pub(super) fn is_of_name(&mut self, key: &Key, what: What) -> bool {
        let Some(kind) = Kind::of(what) else { return false };
        let Some(acts) = self.names.table.get_mut(key) else { return false };
        while acts.front().is_some_and(|(_, at)| at.elapsed() > LOST) {
            acts.pop_front();
        }
        let found = acts.iter().position(|(k, _)| *k == kind);
        if let Some(n) = found {
            acts.drain(..=n);
        }
        if acts.is_empty() {
            self.names.table.remove(key);
        }
        found.is_some()
    }

    /// Whether the file, which is like `now`, is as the guest left it.
    pub(super) fn is_of_file(&self, file: Identity, what: What, now: Stamp) -> bool {
        self.left.table.get(&file).is_some_and(|(left, _)| match what {
            What::Attributes => left.changed == now.changed,
            _ => (left.size, left.modified) == (now.size, now.modified),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_own_acts_are_matched_once_and_in_order() {
        let mut echo = Echo::default();
        let key = (1, b"f".to_vec());
        echo.did(key.clone(), Kind::Created);
        echo.did(key.clone(), Kind::Deleted);
        assert!(!echo.is_of_name(&key, What::To(1)));
        assert!(echo.is_of_name(&key, What::Created));
        assert!(!echo.is_of_name(&key, What::Created), "the second one is the host's");
        assert!(echo.is_of_name(&key, What::Deleted));
        assert!(!echo.is_of_name(&key, What::Deleted) && echo.names.table.is_empty());
    }

    #[test]
    fn a_file_is_the_guests_until_somebody_else_changes_it() {
        let mut echo = Echo::default();
        let stamp = Stamp { size: 1, modified: (2, 3), changed: (4, 5) };
        let (file, other) = (Identity::default(), Identity { ino: 8, ..Identity::default() });
        echo.left(file, stamp);
        assert!(echo.is_of_file(file, What::Changed, stamp) && echo.is_of_file(file, What::Attributes, stamp));
        assert!(!echo.is_of_file(other, What::Changed, stamp));
        assert!(!echo.is_of_file(file, What::Closed, Stamp { modified: (2, 4), ..stamp }));
        assert!(!echo.is_of_file(file, What::Changed, Stamp { size: 2, ..stamp }));
        let chmod = Stamp { changed: (9, 9), ..stamp };
        assert!(echo.is_of_file(file, What::Changed, chmod) && !echo.is_of_file(file, What::Attributes, chmod));
    }

    #[test]
    fn a_table_is_gone_through_when_it_has_doubled_and_what_is_old_goes() {
        let start = Instant::now();
        let mut table: Sweeping<usize, Instant> = Sweeping::default();
        let looked = std::cell::Cell::new(0);
        let mut add = |n: usize, now: Instant| {
            table.swept(now, |at| {
                looked.set(looked.get() + 1);
                Some(*at)
            });
            table.table.insert(n, now);
            table.table.len()
        };
        for n in 0..10 * MANY {
            add(n, start);
        }
        assert!(looked.get() < 20 * MANY, "{} looks", looked.get());
        let later = start + LOST;
        let left = (10 * MANY..20 * MANY).map(|n| add(n, later)).last();
        assert_eq!(left, Some(10 * MANY), "the old ones are gone");
    }
}
