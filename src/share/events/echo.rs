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
/// More than this is not kept for somebody who does not say what was seen: some ten megabytes.
const MOST: usize = 100_000;
/// Room for so many acts stays with a name.
const FEW: usize = 8;

/// What the guest did to a name, in order.
type Acts = VecDeque<(Kind, Instant)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Echo {
    names: Sweeping<Key, Acts>,
    left: Sweeping<Identity, (Stamp, Instant)>,
    /// When something was thrown away that may yet be seen. Until then whatever it may have been counts as the guest's: a
    /// change of the host that is not told is known not to be, and one that did not happen would take away what is there.
    crowded: Option<Instant>,
}

/// A table that is gone through each time it has doubled: a guest that unpacks a large tree does not pay for all of it with
/// each file.
#[derive(Debug)]
struct Sweeping<K, V> {
    table: HashMap<K, V>,
    /// How many entries there are: a value may be several.
    size: usize,
    limit: usize,
}

impl<K, V> Default for Sweeping<K, V> {
    fn default() -> Sweeping<K, V> {
        Sweeping { table: HashMap::new(), size: 0, limit: MANY }
    }
}

impl<K: Eq + Hash, V> Sweeping<K, V> {
    /// Throws away what is old if it was time to look; `fresh` does so in a value, and says how many entries are left of it.
    /// If too much is left even so, all of it goes; says whether it did.
    fn sweep(&mut self, fresh: impl Fn(&mut V) -> usize) -> bool {
        if self.size < self.limit {
            return false;
        }
        self.size = 0;
        self.table.retain(|_, value| {
            let left = fresh(value);
            self.size += left;
            left > 0
        });
        let full = self.size > MOST / 2;
        if full {
            (self.table, self.size) = (HashMap::new(), 0);
        }
        self.limit = MANY.max(self.size * 2);
        full
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
        if self.names.sweep(|acts| drop_lost(acts, now)) {
            self.crowded = Some(now);
        }
        self.names.table.entry(key).or_default().push_back((kind, now));
        self.names.size += 1;
    }

    /// The guest left a file so.
    pub(super) fn left(&mut self, file: Identity, stamp: Stamp) {
        let now = Instant::now();
        if self.left.sweep(|(_, at)| usize::from(!is_lost(now, *at))) {
            self.crowded = Some(now);
        }
        let new = self.left.table.insert(file, (stamp, now)).is_none();
        self.left.size += usize::from(new);
    }

    /// Whether there was ever more than is kept.
    pub(super) fn was_crowded(&self) -> bool {
        self.crowded.is_some()
    }

    /// As if there had been more just now.
    #[cfg(test)]
    pub(super) fn crowd(&mut self) {
        self.crowded = Some(Instant::now());
    }

    /// Whether what is not known may be the guest's.
    fn is_crowded(&self) -> bool {
        self.crowded.is_some_and(|at| !is_lost(Instant::now(), at))
    }

    /// Whether the guest has changed a file.
    pub(super) fn has_left(&self, file: Identity) -> bool {
        self.left.table.contains_key(&file)
    }

    /// Whether the guest did it to this name.
    pub(super) fn is_of_name(&mut self, key: &Key, what: What) -> bool {
        let Some(kind) = Kind::of(what) else { return false };
        let Some(acts) = self.names.table.get_mut(key) else { return self.is_crowded() };
        let all = acts.len();
        drop_lost(acts, Instant::now());
        let found = acts.iter().position(|(k, _)| *k == kind);
        if let Some(n) = found {
            acts.drain(..=n);
        }
        self.names.size -= all - acts.len();
        if acts.is_empty() {
            self.names.table.remove(key);
        }
        found.is_some() || self.is_crowded()
    }

    /// Whether the file, which is like `now`, is as the guest left it.
    pub(super) fn is_of_file(&self, file: Identity, what: What, now: Stamp) -> bool {
        let Some((left, _)) = self.left.table.get(&file) else { return self.is_crowded() };
        match what {
            What::Attributes => left.changed == now.changed,
            _ => (left.size, left.modified) == (now.size, now.modified),
        }
    }
}

/// Drops what will not be seen any more, and the room that it took; says how much is left.
fn drop_lost(acts: &mut Acts, now: Instant) -> usize {
    acts.drain(..acts.partition_point(|(_, at)| is_lost(now, *at)));
    acts.shrink_to(FEW.max(acts.len() * 2));
    acts.len()
}

/// Whether what was done then will not be seen any more.
fn is_lost(now: Instant, at: Instant) -> bool {
    now.duration_since(at) > LOST
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

    /// How many acts and files there are, and how many there is room for.
    fn sizes(echo: &Echo) -> (usize, usize, usize) {
        let acts = echo.names.table.values().map(VecDeque::len).sum();
        let room = echo.names.table.values().map(VecDeque::capacity).sum();
        assert_eq!((echo.names.size, echo.left.size), (acts, echo.left.table.len()), "what is counted is there");
        (acts, room, echo.left.table.len())
    }

    #[test]
    fn a_guest_that_makes_and_removes_for_ever_is_not_kept_whole() {
        let mut echo = Echo::default();
        let key = (1, b"f".to_vec());
        for _ in 0..MOST {
            echo.did(key.clone(), Kind::Created);
            echo.did(key.clone(), Kind::Deleted);
            assert!(echo.names.size <= MOST);
        }
        for n in 0..2 * MOST as u64 {
            echo.did((n, b"f".to_vec()), Kind::Created);
            echo.left(Identity { ino: n, ..Identity::default() }, Stamp { size: 0, modified: (0, 0), changed: (0, 0) });
            assert!(echo.names.size <= MOST && echo.left.size <= MOST);
        }
        let (acts, room, files) = sizes(&echo);
        assert!(acts <= MOST && room <= 8 * MOST && files <= MOST, "{acts} {room} {files}");
        assert!(echo.was_crowded());
    }

    #[test]
    fn what_may_be_the_guests_is_not_told_as_the_hosts() {
        let mut echo = Echo::default();
        let stamp = Stamp { size: 1, modified: (2, 3), changed: (4, 5) };
        let (key, file) = ((1, b"f".to_vec()), Identity::default());
        assert!(!echo.is_of_name(&key, What::Deleted) && !echo.is_of_file(file, What::Changed, stamp));
        echo.crowd();
        assert!(echo.is_of_name(&key, What::Deleted) && echo.is_of_file(file, What::Changed, stamp));
        // What is known is known.
        echo.left(file, stamp);
        assert!(!echo.is_of_file(file, What::Changed, Stamp { size: 2, ..stamp }));
        echo.did(key.clone(), Kind::Created);
        assert!(echo.is_of_name(&key, What::Created) && sizes(&echo).0 == 0);
        // And later everything is.
        echo.crowded = Instant::now().checked_sub(LOST * 2);
        assert!(!echo.is_of_name(&key, What::Deleted));
    }

    #[test]
    fn the_room_of_many_acts_goes_with_them() {
        let (mut echo, key) = (Echo::default(), (1, b"f".to_vec()));
        (0..5000).for_each(|_| echo.did(key.clone(), Kind::Created));
        let old = Instant::now().checked_sub(LOST * 2).expect("a machine that runs for a while");
        echo.names.table.get_mut(&key).expect("acts").iter_mut().for_each(|(_, at)| *at = old);
        echo.did(key.clone(), Kind::Deleted);
        assert!(!echo.is_of_name(&key, What::To(1)));
        let (acts, room, _) = sizes(&echo);
        assert!(acts == 1 && room <= 2 * FEW, "{acts} {room}");
    }

    #[test]
    fn a_table_is_gone_through_when_it_has_doubled_and_what_is_old_goes() {
        let start = Instant::now();
        let mut table: Sweeping<usize, Instant> = Sweeping::default();
        let looked = std::cell::Cell::new(0);
        let mut add = |n: usize, now: Instant| {
            let full = table.sweep(|at| {
                looked.set(looked.get() + 1);
                usize::from(!is_lost(now, *at))
            });
            table.table.insert(n, now);
            table.size += 1;
            (table.table.len(), full)
        };
        for n in 0..MOST / 2 {
            assert!(!add(n, start).1);
        }
        assert!(looked.get() < MOST, "{} looks", looked.get());
        let later = start + LOST * 2;
        let left = (MOST / 2..MOST).map(|n| add(n, later)).last();
        assert_eq!(left, Some((MOST / 2, false)), "the old ones are gone");
    }
}
