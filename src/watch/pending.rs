//! What is to be told, and when.
//!
//! What happens is collected for some milliseconds, because a save is several happenings that are told as one. What comes
//! first after a while of quiet is told as soon as it looks like a whole save: somebody waits for it. There is one list at a
//! time; the next one is told when the guest has repeated the last.

use super::{MOST_PENDING, TOGETHER, after_quiet, due};
use crate::share::events::{Happening, MAX_TOGETHER, What};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How often is looked whether what came first is whole.
const SOON: Duration = Duration::from_millis(3);
/// More than this is no save of one file.
const MOST_WHOLE: usize = 32;

/// What is to be told, in order. A program that writes a file line by line makes it happen thousands of times, and each of
/// them would be looked into.
#[derive(Default)]
pub(super) struct Pending {
    all: Vec<Happening>,
    /// What happened to names last, where more of the same says nothing new.
    last: HashMap<(u64, Vec<u8>), Vec<What>>,
    /// Since when something is pending.
    since: Option<Instant>,
    /// When more of it was looked for last.
    looked: Option<Instant>,
    /// When the last list was told.
    told: Option<Instant>,
    /// Whether the guest has repeated everything that it was told.
    ready: bool,
    /// Whether something will never be told, because the guest did not keep up.
    pub(super) lost: bool,
}

impl Pending {
    /// This has happened, until now.
    pub(super) fn add(&mut self, happened: Vec<Happening>, now: Instant) {
        self.looked = Some(now);
        if self.all.len() > MOST_PENDING {
            self.lost |= !happened.is_empty();
            return;
        }
        happened.into_iter().for_each(|happening| self.join(happening));
        if !self.all.is_empty() {
            self.since.get_or_insert(now);
        }
    }

    fn join(&mut self, happening: Happening) {
        let last = self.last.entry((happening.dir, happening.name.clone())).or_default();
        if last.contains(&happening.what) {
            return;
        }
        // Writing and the end of it are told together.
        let joins = matches!(happening.what, What::Changed | What::Closed)
            && last.iter().all(|what| matches!(what, What::Changed | What::Closed));
        if !joins {
            last.clear();
        }
        if matches!(happening.what, What::Changed | What::Closed | What::Attributes) {
            last.push(happening.what);
        }
        self.all.push(happening);
    }

    /// The guest has repeated everything that it was told.
    pub(super) fn done(&mut self) {
        self.ready = true;
    }

    /// When is to be looked for more and perhaps told; `None` while nothing is pending.
    pub(super) fn due(&self) -> Option<Instant> {
        let (since, looked) = (self.since?, self.looked?);
        // The kernel keeps no more than some thousands.
        Some(if self.ready { due(since, looked, self.told, SOON) } else { looked + TOGETHER })
    }

    /// What is told now, if it is time: as much as is told at once.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<Happening>> {
        let since = self.since?;
        let enough = now >= since + TOGETHER || after_quiet(since, self.told) && is_whole(&self.all);
        if !self.ready || !enough {
            return None;
        }
        self.last.clear();
        let rest = self.all.split_off(self.all.len().min(MAX_TOGETHER));
        self.since = (!rest.is_empty()).then_some(now);
        (self.told, self.ready) = (Some(now), false);
        Some(std::mem::replace(&mut self.all, rest))
    }
}

/// Whether nothing more is to be expected: what was written is closed, what was renamed is there. A file that was made may be
/// one that is saved aside, and is renamed soon.
fn is_whole(all: &[Happening]) -> bool {
    let (mut made, mut open, mut moving) = (HashSet::new(), HashSet::new(), HashSet::new());
    for Happening { dir, name, what, directory } in all.iter().take(MOST_WHOLE) {
        let key = (*dir, name);
        match what {
            What::Created if !directory => drop(made.insert(key)),
            What::Created | What::Attributes => {}
            What::Changed => drop(open.insert(key)),
            What::Closed => drop(open.remove(&key)),
            What::Deleted | What::From(_) => {
                made.remove(&key);
                open.remove(&key);
            }
            What::To(_) => {}
        }
        match what {
            What::From(cookie) => drop(moving.insert(cookie)),
            What::To(cookie) => drop(moving.remove(cookie)),
            _ => {}
        }
    }
    all.len() <= MOST_WHOLE && made.is_empty() && open.is_empty() && moving.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use What::{Attributes, Changed, Closed, Created, Deleted, From, To};

    fn happenings(happened: &[(&str, What)]) -> Vec<Happening> {
        let happening = |(name, what): &(&str, What)| {
            let directory = name.ends_with('/');
            Happening { dir: 1, name: name.as_bytes().to_vec(), what: *what, directory }
        };
        happened.iter().map(happening).collect()
    }

    fn names(told: Vec<Happening>) -> Vec<(String, What)> {
        told.into_iter().map(|h| (String::from_utf8(h.name).expect("text"), h.what)).collect()
    }

    #[test]
    fn more_of_the_same_is_not_told_and_the_order_of_the_rest_is_kept() {
        let told = |happened: &[(&str, What)]| {
            let mut pending = Pending { ready: true, ..Pending::default() };
            let now = Instant::now();
            pending.add(happenings(happened), now);
            names(pending.take(now + TOGETHER).expect("it is time"))
        };
        let list =
            |all: &[(&str, What)]| all.iter().map(|(name, what)| ((*name).to_owned(), *what)).collect::<Vec<_>>();
        let lines = [("f", Changed), ("f", Closed)].repeat(1000);
        assert_eq!(told(&lines), list(&lines[..2]));
        let two = [("f", Changed), ("g", Changed)].repeat(1000);
        assert_eq!(told(&two), list(&two[..2]));
        for kept in [
            &[("f", Changed), ("f", Attributes), ("f", Changed)][..],
            &[("f", Changed), ("f", Deleted), ("f", Created), ("f", Changed)],
            &[("f", Created), ("f", Deleted), ("f", Created), ("f", Deleted)],
        ] {
            assert_eq!(told(kept), list(kept));
        }
    }

    #[test]
    fn a_save_is_whole_when_nothing_more_is_to_be_expected() {
        let whole = |happened: &[(&str, What)]| is_whole(&happenings(happened));
        for yes in [
            &[("f", Changed), ("f", Changed), ("f", Closed)][..],
            &[("f", Closed)],
            &[("f", Attributes)],
            &[("f", Deleted)],
            &[("d/", Created)],
            &[("f", From(1)), ("g", To(1))],
            &[("f", To(1))],
            &[("t", Created), ("t", Changed), ("t", Closed), ("t", From(7)), ("f", To(7)), ("f", Attributes)],
            &[("t", Created), ("t", Changed), ("t", Deleted)],
        ] {
            assert!(whole(yes), "{yes:?}");
        }
        for no in [
            &[("f", Changed)][..],
            &[("f", Changed), ("f", Closed), ("f", Changed)],
            &[("f", Changed), ("f", Closed), ("g", Changed)],
            &[("t", Created), ("t", Changed), ("t", Closed)],
            &[("f", From(1))],
            &[("f", From(1)), ("g", To(2))],
        ] {
            assert!(!whole(no), "{no:?}");
        }
        assert!(!whole(&[("f", Attributes)].repeat(MOST_WHOLE + 1)), "that is no save");
    }

    const WHOLE: [(&str, What); 2] = [("f", Changed), ("f", Closed)];

    #[test]
    fn the_first_save_after_a_while_is_told_soon_and_what_follows_together() {
        let mut pending = Pending { ready: true, ..Pending::default() };
        let start = Instant::now();
        assert_eq!(pending.due(), None);
        pending.add(happenings(&WHOLE[..1]), start);
        assert_eq!((pending.due(), pending.take(start + SOON)), (Some(start + SOON), None), "it goes on");
        pending.add(happenings(&WHOLE[1..]), start + SOON);
        assert_eq!(names(pending.take(start + SOON).expect("it is whole")).len(), 2);
        // The next one is told together with what follows it, and not before the guest is ready.
        let next = start + SOON * 2;
        pending.add(happenings(&WHOLE), next);
        assert_eq!((pending.due(), pending.take(next + TOGETHER)), (Some(next + TOGETHER), None), "it is busy");
        pending.done();
        assert_eq!((pending.due(), pending.take(next + SOON)), (Some(next + TOGETHER), None), "more may follow");
        assert!(pending.take(next + TOGETHER).is_some());
        // And after a while it is quiet again.
        pending.done();
        let later = next + TOGETHER * 2;
        pending.add(happenings(&WHOLE), later);
        assert_eq!(pending.due(), Some(later + SOON));
        assert!(pending.take(later + SOON).is_some());
    }

    #[test]
    fn a_guest_that_does_not_keep_up_loses_what_is_too_much_and_that_is_known() {
        let mut pending = Pending::default();
        let now = Instant::now();
        let many: Vec<_> = (0..=MOST_PENDING).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), Deleted)).collect();
        pending.add(happenings(&many), now);
        pending.add(Vec::new(), now);
        assert!(!pending.lost);
        pending.add(happenings(&WHOLE), now);
        assert!(pending.lost && pending.all.len() == many.len());
    }

    #[test]
    fn what_does_not_end_is_told_in_time_and_looked_for_while_the_guest_is_busy() {
        let mut pending = Pending { ready: true, ..Pending::default() };
        let start = Instant::now();
        pending.add(happenings(&WHOLE[..1]), start);
        let late = start + TOGETHER - Duration::from_millis(1);
        pending.add(Vec::new(), late);
        assert_eq!((pending.due(), pending.take(late)), (Some(start + TOGETHER), None));
        assert!(pending.take(start + TOGETHER).is_some());
        assert_eq!(pending.due(), None, "nothing is pending");
        let many: Vec<_> = (0..=MAX_TOGETHER).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), Attributes)).collect();
        pending.add(happenings(&many), late);
        pending.add(Vec::new(), late + TOGETHER);
        assert_eq!(pending.due(), Some(late + TOGETHER * 2));
        pending.done();
        assert_eq!(pending.take(late + TOGETHER * 2).map(|told| told.len()), Some(MAX_TOGETHER));
        pending.done();
        assert_eq!(pending.take(late + TOGETHER * 3).map(|told| told.len()), Some(1), "the rest");
    }
}
