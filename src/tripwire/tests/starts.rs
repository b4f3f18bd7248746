//! Starts after a session that was killed: the one that puts back is killed itself, hangs, or has another one beside it.

use super::{GIT, Place, Side, Trees, Watch, names};
use crate::tripwire::found::{Bounds, Entry, Tree, sha};
use crate::tripwire::walk::walk;
use crate::tripwire::{First, look_first, settle};
use std::sync::Barrier;

const HOOK: &str = ".git/hooks/post-commit";

impl Place {
    /// A session is killed that has planted a hook.
    fn planted(&self) {
        self.killed(&GIT, |p| p.write(HOOK, "echo evil\n"));
    }

    /// As [`watch`](Place::watch), without waiting for the first walk.
    fn starts(&self) -> (Watch, tokio::sync::oneshot::Receiver<()>) {
        Watch::start(&self.state(), "1:2:3", self.trees(&GIT)).expect("start")
    }
}

/// What the next start does with what was killed, but for the end of it: nothing is noted as finished.
fn put_back_only(place: &Place, trees: &Trees) {
    let store = place.store();
    let lost = store.unfinished();
    assert_eq!(lost.len(), 1);
    let (_, put_back) = settle(&store, trees, &lost[0].0, &store.last(), true);
    assert_eq!(put_back.len(), 1);
}

#[test]
fn a_start_that_is_killed_leaves_the_killed_session_to_the_next() {
    let place = Place::new();
    place.planted();
    // Killed before anything was put back, twice: all that a process held is free, and nothing else has changed.
    assert_eq!(place.store().unfinished().len(), 1);
    assert_eq!(place.store().unfinished().len(), 1);
    let outcome = place.session(&GIT, |_| {});
    assert!(outcome.put_back.len() == 1 && outcome.put_back[0].lost, "{outcome:?}");
    assert_eq!(place.read(HOOK), None);
    assert_eq!(names(&place.store().waiting().changes), [("put back", HOOK)]);

    // Killed after it was put back, and before that was noted.
    place.planted();
    put_back_only(&place, &place.trees(&GIT));
    let outcome = place.session(&GIT, |_| {});
    assert_eq!((outcome.put_back.len(), place.read(HOOK)), (0, None), "{outcome:?}");
    assert_eq!(place.store().unfinished().len(), 0, "it is finished");
}

#[test]
fn a_start_that_waits_no_longer_for_one_that_hangs_does_not_take_the_hook_for_the_users() {
    let place = Place::new();
    place.planted();
    let (store, trees) = (place.store(), place.trees(&GIT));
    let mut hangs = store.unfinished();
    let First { before, begun, put_back } = look_first(&store, &trees).expect("the first walk");
    assert_eq!((put_back.len(), place.read(HOOK).as_deref()), (0, Some("echo evil\n")));
    // Now the other one goes on, and ends.
    let (lost, note) = hangs.pop().expect("a note");
    let (after, _) = settle(&store, &trees, &lost, &store.last(), true);
    store.finish(trees.roots(), Vec::new(), &after, note).expect("finish");
    let (after, put_back) = settle(&store, &trees, &before, &before, false);
    store.finish(trees.roots(), Vec::new(), &after, begun).expect("finish");
    assert_eq!((put_back.len(), place.read(HOOK)), (0, None), "{put_back:?}");
}

#[test]
fn of_two_that_start_at_once_one_puts_back_and_neither_brings_it_again() {
    let place = Place::new();
    for round in 0..30 {
        place.planted();
        let both = Barrier::new(2);
        let session = || {
            both.wait();
            let watch = place.watch(&GIT);
            both.wait();
            watch.finish().expect("finish").put_back
        };
        let (one, other) = std::thread::scope(|threads| {
            let other = threads.spawn(session);
            (session(), other.join().expect("no panic"))
        });
        let all = [one, other].concat();
        assert!(all.len() == 1 && all[0].lost && all[0].failed.is_none(), "{round}: {all:?}");
        assert_eq!(place.read(HOOK), None, "{round}");
        assert_eq!(place.store().unfinished().len(), 0, "{round}");
    }
}

#[test]
fn a_first_walk_begins_when_the_one_before_it_is_over() {
    let place = Place::new();
    let held = place.store().first_walk().expect("free");
    let (watch, mut ready) = place.starts();
    // Time enough for one that does not wait: as much as many walks take.
    let root = place.trees(&GIT).project;
    for _ in 0..200 {
        walk(Side::Project, &root.0, b"/p", Bounds::default(), &Tree::default(), &mut |_, _| {});
    }
    assert!(ready.try_recv().is_err(), "it did not wait");
    place.write(HOOK, "echo mine\n");
    drop(held);
    ready.blocking_recv().expect("the first walk is over");
    let outcome = watch.finish().expect("finish");
    assert_eq!((outcome.put_back.len(), place.read(HOOK).as_deref()), (0, Some("echo mine\n")), "{outcome:?}");
}

#[test]
fn bytes_that_are_in_no_note_yet_are_not_forgotten_while_somebody_looks() {
    let place = Place::new();
    let store = place.store();
    let sha = sha(b"seen just now");
    let seen = Entry { why: String::new(), kind: "file".into(), mode: 0o600, sha: Some(sha.clone()), stamp: [0; 6] };
    let looks = store.keeping().expect("free");
    store.keep(&sha, b"seen just now");
    place.session(&GIT, |_| {});
    assert!(store.kept(&seen).is_some());
    drop(looks);
    place.session(&GIT, |_| {});
    assert!(store.kept(&seen).is_none(), "nothing needs them");
}
