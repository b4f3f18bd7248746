//! A guest that does as much as it can of what somebody has to remember: it is remembered as far as there is room, and who
//! watches is told that it is not all.

use super::outbox::MOST;
use super::server::Events;
use super::tests::{World, ghost, guest};
use super::{FromServer, Happening, ToServer, What};
use std::ffi::CString;
use std::fs;
use virtiofsd::filesystem::{Extensions, FileSystem, FsOptions};

/// As long as a name can be.
fn long() -> CString {
    CString::new([b'x'; 255]).expect("no zero")
}

/// A chain of directories of so many of those names, the last one being forgotten again; with the one that it is in.
fn deep(world: &World, names: usize) -> u64 {
    let (name, mut at) = (long(), world.work);
    for _ in 1..names {
        at = world.fs.mkdir(guest(), at, &name, 0o755, 0, Extensions::default()).expect("mkdir").inode;
    }
    let last = world.fs.mkdir(guest(), at, &name, 0o755, 0, Extensions::default()).expect("mkdir").inode;
    world.fs.forget(guest(), last, 1);
    at
}

fn events(world: &World) -> &Events {
    world.fs.events.as_deref().expect("events")
}

/// Looks up a directory and forgets it; the number that it had.
fn turn(world: &World, parent: u64) -> u64 {
    let id = world.fs.lookup(guest(), parent, &long()).expect("lookup").inode;
    world.fs.forget(guest(), id, 1);
    id
}

#[test]
fn what_nobody_reads_is_kept_so_far_and_no_further() {
    let mut world = World::new();
    let parent = deep(&world, 15);
    // Nobody reads: thousands of long paths are more than a socket holds, and more than there is room for.
    for _ in 0..4 * MOST / 4096 {
        turn(&world, parent);
        assert!(events(&world).out.kept() <= MOST + 200, "{}", events(&world).out.kept());
    }
    let last = world.fs.lookup(guest(), parent, &long()).expect("lookup").inode;
    // That is said once, and what is asked for is answered.
    world.say(&ToServer::Happened(Vec::new()));
    let (mut said, mut known) = (0, 0);
    loop {
        match world.heard() {
            FromServer::NotAll => said += 1,
            FromServer::Known(id, ..) => {
                assert_ne!(id, last, "there was no room");
                known += 1;
            }
            FromServer::Forgotten(_) => {}
            FromServer::Acts(acts) => break assert_eq!(acts, []),
        }
    }
    assert_eq!(said, 1);
    assert!((MOST / 4096 / 2..4 * MOST / 4096).contains(&known), "{known}");
    // Now that there is room, it is watched as soon as it is looked up again.
    let again = turn(&world, parent);
    assert_eq!(again, last);
    while !matches!(world.heard(), FromServer::Known(id, ..) if id == last) {}
}

#[test]
fn a_path_that_no_kernel_takes_is_not_told() {
    let mut world = World::new();
    let parent = deep(&world, 20);
    let id = turn(&world, parent);
    let happening = Happening { dir: parent, name: long().into_bytes(), what: What::Deleted, directory: true };
    world.say(&ToServer::Happened(vec![happening]));
    let mut longest = 0;
    loop {
        match world.heard() {
            FromServer::Known(known, tag, path) => {
                assert_ne!(known, id);
                longest = longest.max(tag.len() + 1 + path.len());
            }
            FromServer::Acts(acts) => break assert_eq!(acts, []),
            other => panic!("{other:?}"),
        }
    }
    // "work", and 15 of 255 bytes each, and as many slashes.
    assert_eq!(longest, 4 + 15 * 256);
}

#[test]
fn what_is_forgotten_is_not_remembered_here() {
    let mut world = World::new();
    let parent = deep(&world, 1);
    for _ in 0..100 {
        let id = turn(&world, parent);
        // Whoever watches heard of it too late.
        world.say(&ToServer::Unwatched(id));
    }
    assert_eq!(world.happened(&[]), []);
    assert_eq!(events(&world).sizes(), (1, 0), "the project's root");
    world.fs.init(FsOptions::empty()).expect("begin anew");
    assert_eq!(events(&world).sizes(), (0, 0));
}

#[test]
fn a_guest_whose_own_acts_nobody_sees_is_told_to_be_too_much() {
    let mut world = World::new();
    fs::write(world.at("own"), "").expect("write");
    // In place of some ten thousand files in a second.
    events(&world).state().echo.crowd();
    world.fs.unlink(guest(), world.work, c"own").expect("unlink");
    fs::remove_file(world.at("f")).expect("rm");
    world.say(&ToServer::Happened(Vec::new()));
    assert_eq!(world.heard(), FromServer::NotAll);
    assert_eq!(world.heard(), FromServer::Acts(Vec::new()));
    assert_eq!(world.happened(&[("f", What::Deleted)]), [], "that may have been the guest");
}

/// What is not there any more when it is repeated gets a number all the same, and only one.
#[test]
fn who_asks_for_ever_for_what_is_gone_gets_one_file() {
    let mut world = World::new();
    fs::write(world.at("moved"), "").expect("write");
    assert_eq!(world.happened(&[("never", What::From(1)), ("moved", What::To(1))]).len(), 1);
    fs::remove_file(world.at("moved")).expect("rm");
    let find = |name| world.fs.lookup(ghost(), world.work, name).expect("as it was").inode;
    let first = find(c"never");
    assert!((0..100).all(|_| find(c"never") == first));
    world.fs.rename(ghost(), world.work, c"never", world.work, c"moved", 0).expect("rename");
    assert_eq!(world.happened(&[("moved", What::Deleted)]).len(), 1);
    assert_eq!(world.fs.lookup(ghost(), world.work, c"moved").expect("as it was").inode, first);
    world.fs.unlink(ghost(), world.work, c"moved").expect("unlink");
    world.fs.forget(guest(), first, 102);
    assert!(!world.fs.fs.inner().is_known(first), "it is kept for ever");
}
