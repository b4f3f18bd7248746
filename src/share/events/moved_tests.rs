//! Renamings of the host that are told when something else has its old place, or its new one.

use super::tests::{World, code, ghost, guest, path, picture};
use super::{Act, Happening, What};
use std::ffi::CStr;
use std::fs;
use virtiofsd::filesystem::FileSystem;

impl World {
    /// What is to be repeated of this: directories by their numbers, and `true` for a directory.
    fn told(&mut self, what: &[(u64, &str, What, bool)]) -> Vec<Act> {
        let happening = |(dir, name, what, directory): &(u64, &str, What, bool)| Happening {
            dir: *dir,
            name: name.as_bytes().to_vec(),
            what: *what,
            directory: *directory,
        };
        self.heard_of(what.iter().map(happening).collect())
    }

    fn is(&self, name: &CStr, file: u64) {
        assert_eq!(self.fs.lookup(ghost(), self.work, name).expect("as it was").inode, file, "{name:?}");
    }

    fn is_not(&self, name: &CStr) {
        assert_eq!(code(self.fs.lookup(ghost(), self.work, name)), libc::ENOENT, "{name:?}");
    }

    fn rename(&self, from: &CStr, to: &CStr) {
        self.fs.rename(ghost(), self.work, from, self.work, to, 0).expect("rename");
    }
}

fn write(name: &str) -> Act {
    Act::Write { path: path(name), changed: true, closed: true }
}

fn rename(from: &str, to: &str) -> Act {
    Act::Rename(path(from), path(to))
}

#[test]
fn what_happens_in_a_directory_that_is_moved_is_told_where_the_guest_finds_it_then() {
    let mut world = World::new();
    let (work, d) = (world.work, world.find(c"d"));
    fs::write(world.at("d/i"), "i").expect("write");
    fs::write(world.at("d/h"), "before").expect("write");
    fs::rename(world.at("d"), world.at("e")).expect("mv");
    fs::write(world.at("e/i"), "after").expect("write");
    // Another one has its name now, with a file that nothing happened to.
    fs::create_dir(world.at("d")).expect("mkdir");
    fs::write(world.at("d/i"), "another").expect("write");
    let acts = world.told(&[
        (d, "h", What::Changed, false),
        (d, "h", What::Closed, false),
        (work, "d", What::From(1), true),
        (work, "e", What::To(1), true),
        (d, "i", What::Changed, false),
        (d, "i", What::Closed, false),
        (work, "d", What::Created, true),
    ]);
    let made = Act::Create(path("d"), libc::S_IFDIR);
    assert_eq!(acts, [write("d/h"), rename("d", "e"), write("e/i"), made]);
    let before = picture(world.dir.path());
    world.is(c"d", d);
    world.is_not(c"e");
    world.rename(c"d", c"e");
    world.is(c"e", d);
    world.is_not(c"d");
    let new = world.fs.mkdir(ghost(), work, c"d", 0o700, 0, Default::default()).expect("mkdir").inode;
    assert!(new != d && world.fs.lookup(guest(), work, c"d").expect("d").inode == new);
    assert_eq!(picture(world.dir.path()), before);
}

#[test]
fn names_that_change_places_are_told_one_by_one() {
    let mut world = World::new();
    let (work, f, g) = (world.work, world.find(c"f"), world.find(c"g"));
    for (from, to) in [("f", "t"), ("g", "f"), ("t", "g")] {
        fs::rename(world.at(from), world.at(to)).expect("mv");
    }
    let moved = |from, to, n| [(work, from, What::From(n), false), (work, to, What::To(n), false)];
    let acts = world.told(&[moved("f", "t", 1), moved("g", "f", 2), moved("t", "g", 3)].concat());
    assert_eq!(acts, [rename("f", "t"), rename("g", "f"), rename("t", "g")]);
    world.is(c"f", f);
    world.is_not(c"t");
    world.rename(c"f", c"t");
    world.is(c"g", g);
    world.is_not(c"f");
    world.rename(c"g", c"f");
    world.is(c"t", f);
    world.is_not(c"g");
    world.rename(c"t", c"g");
    world.is(c"f", g);
    world.is(c"g", f);
    world.is_not(c"t");
}

#[test]
fn a_name_that_is_gone_when_it_is_told_was_there_all_the_same() {
    let mut world = World::new();
    let (work, f) = (world.work, world.find(c"f"));
    fs::rename(world.at("f"), world.at("aside")).expect("mv");
    fs::rename(world.at("aside"), world.at("d/out")).expect("mv");
    let happened = [
        (work, "f", What::From(1), false),
        (work, "aside", What::To(1), false),
        (work, "aside", What::From(2), false),
        // Never known here, and gone again.
        (work, "new", What::From(3), false),
        (work, "newer", What::To(3), false),
    ];
    let acts = world.told(&happened);
    let gone = Act::Delete(path("aside"), false);
    assert_eq!(acts, [rename("f", "aside"), rename("new", "newer"), gone]);
    world.is(c"f", f);
    world.rename(c"f", c"aside");
    let new = world.fs.lookup(ghost(), work, c"new").expect("it was there").inode;
    world.rename(c"new", c"newer");
    world.is(c"aside", f);
    world.fs.unlink(ghost(), work, c"aside").expect("unlink");
    world.is_not(c"aside");
    // That it is gone is told later, and is so for everybody else.
    world.is(c"newer", new);
    assert_eq!(code(world.fs.lookup(guest(), work, c"newer")), libc::ENOENT);
    world.fs.batch_forget(guest(), vec![(new, 1)]);
}

/// A list may end in the middle of what the host does.
#[test]
fn what_is_told_later_is_not_found_out_on_the_way() {
    let mut world = World::new();
    let (work, d) = (world.work, world.find(c"d"));
    let h = world.fs.lookup(guest(), d, c"h").expect("h").inode;
    fs::remove_dir_all(world.at("d")).expect("rm -r");
    fs::create_dir(world.at("d")).expect("mkdir");
    assert_eq!(world.told(&[(d, "h", What::Deleted, false)]), [Act::Delete(path("d/h"), false)]);
    world.is(c"d", d);
    assert_eq!(world.fs.lookup(ghost(), d, c"h").expect("as it was").inode, h);
    world.fs.unlink(ghost(), d, c"h").expect("unlink");
    let names = |ctx| world.fs.getattr(ctx, d, None).expect("it is open").0.nlink;
    assert!(names(guest()) == 0 && names(ghost()) > 0, "its watches would end");
    let acts = world.told(&[(work, "d", What::Deleted, true), (work, "d", What::Created, true)]);
    assert_eq!(acts, [Act::Delete(path("d"), true), Act::Create(path("d"), libc::S_IFDIR)]);
    world.is(c"d", d);
    world.fs.rmdir(ghost(), work, c"d").expect("rmdir");
    world.is_not(c"d");
    let new = world.fs.mkdir(ghost(), work, c"d", 0o700, 0, Default::default()).expect("mkdir").inode;
    assert_ne!(new, d);
    world.is(c"d", new);
}

#[test]
fn what_is_gone_before_it_is_repeated_was_there_all_the_same() {
    let mut world = World::new();
    let work = world.work;
    fs::write(world.at("made"), "x").expect("write");
    fs::write(world.at("new"), "x").expect("write");
    // Never known here, and a directory is in its place by then.
    fs::rename(world.at("new"), world.at("newer")).expect("mv");
    let moved = [(work, "new", What::From(1), false), (work, "newer", What::To(1), false)];
    let acts = world.told(&[&[(work, "made", What::Created, false)], &moved[..]].concat());
    assert_eq!(acts, [Act::Create(path("made"), libc::S_IFREG), rename("new", "newer")]);
    fs::remove_file(world.at("made")).expect("rm");
    fs::remove_file(world.at("newer")).expect("rm");
    let made = world.fs.mknod(ghost(), work, c"made", libc::S_IFREG, 0, 0, Default::default()).expect("mknod").inode;
    world.fs.forget(guest(), made, 1);
    world.fs.lookup(ghost(), work, c"new").expect("it was there");
    world.rename(c"new", c"newer");
    fs::create_dir(world.at("newer")).expect("mkdir");
    let dir = world.find(c"newer");
    let acts = world.told(&[(work, "other", What::From(1), false), (work, "newer", What::To(1), false)]);
    assert_eq!(acts, [rename("other", "newer")]);
    let other = world.fs.lookup(ghost(), work, c"other").expect("it was there");
    assert!(other.inode != dir && other.attr.mode & libc::S_IFMT == libc::S_IFREG, "{:o}", other.attr.mode);
}
