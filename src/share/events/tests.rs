//! Both sides of the server without a machine: the guest through the trait, whoever watches through the socket.

use super::*;
use crate::share::bounded::Bounded;
use crate::share::guard::Guard;
use crate::share::nodes::Tag;
use crate::share::places::Places;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use virtiofsd::filesystem::{Context, Extensions, FileSystem, FsOptions, SetattrValid};
use virtiofsd::fuse::{ROOT_ID, SetattrIn};
use virtiofsd::passthrough::{Config, PassthroughFs};
use vmclaude_init::wire::proto;

const BY: i32 = 77;

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) fs: Ghosts<PassthroughFs>,
    control: UnixStream,
    pub(super) work: u64,
}

pub(super) fn guest() -> Context {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Context { uid: uid.into(), gid: gid.into(), pid: 9 }
}

/// The thread that repeats.
pub(super) fn ghost() -> Context {
    Context { pid: BY, ..guest() }
}

impl World {
    pub(super) fn new() -> World {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("work/d")).expect("mkdir");
        for file in ["f", "g", "d/h"] {
            fs::write(dir.path().join("work").join(file), file).expect("write");
        }
        let config = Config { root_dir: dir.path().to_str().expect("utf-8").into(), ..Config::default() };
        let inner = PassthroughFs::new(config).expect("passthrough");
        let tags = BTreeMap::from([(b"work".to_vec(), Tag { writable: true, coherent: false })]);
        let bounded = Bounded::new(inner, File::open(dir.path()).expect("root"), 1000);
        let guard = Arc::new(Guard::new(bounded, tags, Places::default()));
        let (control, far) = UnixStream::pair().expect("socketpair");
        let events = serve(&guard, File::from(OwnedFd::from(far))).expect("serve");
        let fs = Ghosts::new(guard, Some(events));
        fs.init(FsOptions::empty()).expect("init");
        let work = fs.lookup(guest(), ROOT_ID, c"work").expect("work").inode;
        let mut world = World { dir, fs, control, work };
        assert_eq!(world.heard(), FromServer::Known(work, b"work".to_vec(), Vec::new()));
        world.say(&ToServer::By(BY.cast_unsigned()));
        // Answered behind it.
        assert_eq!(world.happened(&[]), []);
        world
    }

    pub(super) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("work").join(path)
    }

    pub(super) fn say(&mut self, message: &ToServer) {
        self.control.write_all(&proto::encode(message).expect("encode")).expect("write");
    }

    pub(super) fn heard(&mut self) -> FromServer {
        let mut len = [0; 4];
        self.control.read_exact(&mut len).expect("read");
        let mut bytes = vec![0; u32::from_le_bytes(len) as usize];
        self.control.read_exact(&mut bytes).expect("read");
        proto::decode(&bytes).expect("decode")
    }

    /// What is to be repeated of this.
    pub(super) fn happened(&mut self, what: &[(&str, What)]) -> Vec<Act> {
        self.happened_in(self.work, what)
    }

    fn happened_in(&mut self, dir: u64, what: &[(&str, What)]) -> Vec<Act> {
        let happening = |(name, what): &(&str, What)| Happening {
            dir,
            name: name.as_bytes().to_vec(),
            what: *what,
            directory: name.starts_with("dir"),
        };
        self.heard_of(what.iter().map(happening).collect())
    }

    pub(super) fn heard_of(&mut self, happened: Vec<Happening>) -> Vec<Act> {
        self.say(&ToServer::Happened(happened));
        loop {
            match self.heard() {
                FromServer::Acts(acts) => return acts,
                FromServer::Known(..) | FromServer::Forgotten(_) | FromServer::NotAll => {}
            }
        }
    }

    pub(super) fn find(&self, name: &CStr) -> u64 {
        self.fs.lookup(guest(), self.work, name).expect("lookup").inode
    }
}

pub(super) fn path(name: &str) -> Vec<u8> {
    format!("work/{name}").into_bytes()
}

pub(super) fn code<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |e| e.raw_os_error().unwrap_or(-1))
}

pub(super) type Entry = (PathBuf, u64, i64, i64, i64, i64, Vec<u8>);

/// Everything about a tree that a ghost could have changed.
pub(super) fn picture(dir: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).expect("stat"));
        if meta.is_dir() {
            all.extend(picture(&path));
        }
        let bytes = if meta.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        all.push((path, meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), bytes));
    }
    all.sort();
    all
}

fn ext() -> Extensions {
    Extensions::default()
}

#[test]
fn what_the_guest_does_itself_does_not_come_back() {
    let mut world = World::new();
    let flags = (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY).cast_unsigned();
    let (entry, handle, _) =
        world.fs.create(guest(), world.work, c"new", 0o644, false, flags, 0, ext()).expect("create");
    world.fs.release(guest(), entry.inode, 0, handle.expect("a handle"), false, false, None).expect("close");
    let own = [("new", What::Created), ("new", What::Changed), ("new", What::Closed), ("new", What::Attributes)];
    // Also when it remembers the file no more: with a brief memory that is at once.
    world.fs.forget(guest(), entry.inode, 1);
    assert_eq!(world.happened(&own), []);
    world.fs.rename(guest(), world.work, c"new", world.work, c"newer", 0).expect("rename");
    assert_eq!(world.happened(&[("new", What::From(1)), ("newer", What::To(1)), ("newer", What::Closed)]), []);
    let attr = SetattrIn { size: 1, mtime: 99, ..SetattrIn::default() };
    let what = SetattrValid::SIZE | SetattrValid::MTIME;
    world.fs.setattr(guest(), world.find(c"f"), attr, None, what).expect("truncate");
    assert_eq!(world.happened(&[("f", What::Changed), ("f", What::Attributes)]), []);
    world.fs.unlink(guest(), world.work, c"newer").expect("unlink");
    assert_eq!(world.happened(&[("newer", What::Deleted)]), []);
    // The same from the host is told.
    fs::write(world.at("f"), "of the host").expect("write");
    assert_eq!(world.happened(&[("f", What::Changed)]).len(), 1);
    fs::write(world.at("newer"), "").expect("write");
    assert_eq!(world.happened(&[("newer", What::Created)]), [Act::Create(path("newer"), libc::S_IFREG)]);
}

#[test]
fn ghosts_are_answered_as_if_they_happened_now_and_touch_nothing() {
    let mut world = World::new();
    let (f, g) = (world.find(c"f"), world.find(c"g"));
    fs::remove_file(world.at("f")).expect("rm");
    fs::write(world.at("new"), "x").expect("write");
    fs::rename(world.at("g"), world.at("moved")).expect("mv");
    fs::create_dir(world.at("dir")).expect("mkdir");
    let before = picture(world.dir.path());
    let happened = [
        ("f", What::Deleted),
        ("new", What::Created),
        ("g", What::From(5)),
        ("moved", What::To(5)),
        ("dir", What::Created),
    ];
    let acts = world.happened(&happened);
    assert_eq!(acts.len(), 4, "{acts:?}");
    let (fs, work) = (&world.fs, world.work);
    // Everybody else sees what is.
    assert_eq!(code(fs.lookup(guest(), work, c"f")), libc::ENOENT);
    assert_eq!(code(fs.unlink(guest(), work, c"f")), libc::ENOENT);
    let old = fs.lookup(ghost(), work, c"f").expect("it is still there");
    assert_eq!((old.inode, old.entry_timeout.as_nanos()), (f, 0));
    fs.unlink(ghost(), work, c"f").expect("unlink");
    assert_eq!(code(fs.lookup(ghost(), work, c"f")), libc::ENOENT);
    assert_eq!(code(fs.lookup(ghost(), work, c"new")), libc::ENOENT, "not yet");
    let new = fs.mknod(ghost(), work, c"new", libc::S_IFREG | 0o600, 0, 0, ext()).expect("mknod");
    assert_eq!((new.attr.size, new.attr.mode & libc::S_IFMT), (1, libc::S_IFREG), "what is really there");
    assert_eq!(fs.lookup(ghost(), work, c"g").expect("g").inode, g);
    assert_eq!(code(fs.lookup(ghost(), work, c"moved")), libc::ENOENT);
    fs.rename(ghost(), work, c"g", work, c"moved", 0).expect("rename");
    assert_eq!(fs.lookup(guest(), work, c"moved").expect("moved").inode, g, "the very same file");
    fs.mkdir(ghost(), work, c"dir", 0o700, 0, ext()).expect("mkdir");
    assert_eq!(picture(world.dir.path()), before);
}

/// Its kernel forgets a directory that nobody uses as soon as it can, and a number that it did not expect at once.
#[test]
fn what_the_guest_forgets_between_two_repetitions_is_found_again() {
    let mut world = World::new();
    let d = world.find(c"d");
    let h = world.fs.lookup(guest(), d, c"h").expect("h").inode;
    fs::remove_dir_all(world.at("d")).expect("rm -r");
    let deleted = |dir, name: &[u8], directory| Happening { dir, name: name.to_vec(), what: What::Deleted, directory };
    let happened = vec![deleted(d, b"h", false), deleted(world.work, b"d", true), deleted(world.work, b"never", false)];
    world.say(&ToServer::Happened(happened));
    let mut acts = Vec::new();
    while acts.is_empty() {
        if let FromServer::Acts(told) = world.heard() {
            acts = told;
        }
    }
    let gone = |name, directory| Act::Delete(path(name), directory);
    assert_eq!(acts, [gone("d/h", false), gone("d", true), gone("never", false)]);
    let (fs, work) = (&world.fs, world.work);
    let find = |dir, name| fs.lookup(ghost(), dir, name).expect("as it was").inode;
    assert_eq!((find(work, c"d"), find(d, c"h")), (d, h));
    fs.unlink(ghost(), d, c"h").expect("unlink");
    fs.batch_forget(guest(), vec![(h, 2), (d, 2)]);
    assert_eq!(find(work, c"d"), d);
    fs.rmdir(ghost(), work, c"d").expect("rmdir");
    fs.forget(guest(), d, 1);
    let never = find(work, c"never");
    fs.forget(guest(), never, 1);
    assert_eq!(find(work, c"never"), never);
    fs.unlink(ghost(), work, c"never").expect("unlink");
    fs.forget(guest(), never, 1);
    for id in [h, d, never] {
        assert!(!fs.fs.inner().is_known(id), "{id} is kept for ever");
    }
    assert_eq!(code(fs.lookup(ghost(), work, c"d")), libc::ENOENT);
}

#[test]
fn a_file_that_was_saved_aside_takes_the_place_of_the_one_that_is_known() {
    let mut world = World::new();
    let f = world.find(c"f");
    fs::write(world.at("tmp"), "saved").expect("write");
    fs::rename(world.at("tmp"), world.at("f")).expect("mv");
    let acts = world.happened(&[("tmp", What::Created), ("tmp", What::From(1)), ("f", What::To(1))]);
    assert_eq!(acts, [Act::Rename(path("tmp"), path("f"))]);
    let (fs, work) = (&world.fs, world.work);
    let tmp = fs.lookup(ghost(), work, c"tmp").expect("tmp").inode;
    assert_eq!(fs.lookup(ghost(), work, c"f").expect("the old one").inode, f);
    fs.rename(ghost(), work, c"tmp", work, c"f", 0).expect("rename");
    let now = fs.lookup(guest(), work, c"f").expect("f");
    assert_eq!((now.inode, now.attr.size), (tmp, 5));
    assert_ne!(tmp, f);
}

#[test]
fn what_was_not_announced_or_is_over_is_refused() {
    let mut world = World::new();
    world.find(c"f");
    let before = picture(world.dir.path());
    let refused = |world: &World| {
        let (fs, work) = (&world.fs, world.work);
        let attr = SetattrIn { size: 0, ..SetattrIn::default() };
        let f = fs.lookup(ghost(), work, c"f").expect("the truth").inode;
        assert_eq!(code(fs.unlink(ghost(), work, c"f")), libc::EPERM);
        assert_eq!(code(fs.rename(ghost(), work, c"f", work, c"x", 0)), libc::EPERM);
        assert_eq!(code(fs.mknod(ghost(), work, c"x", libc::S_IFREG, 0, 0, ext())), libc::EPERM);
        assert_eq!(code(fs.mkdir(ghost(), work, c"x", 0, 0, ext())), libc::EPERM);
        assert_eq!(code(fs.create(ghost(), work, c"x", 0, false, 0, 0, ext())), libc::EPERM);
        assert_eq!(code(fs.link(ghost(), f, work, c"x")), libc::EPERM);
        // Answered, and without effect.
        fs.setattr(ghost(), f, attr, None, SetattrValid::SIZE).expect("as if it were done");
        let (handle, _) = fs.open(ghost(), f, false, (libc::O_WRONLY | libc::O_TRUNC).cast_unsigned()).expect("open");
        let handle = handle.expect("a handle");
        fs.fallocate(ghost(), f, handle, 0, 0, 1 << 20).expect("as if it were done");
        fs.release(ghost(), f, 0, handle, false, false, None).expect("close");
    };
    refused(&world);
    fs::remove_file(world.at("g")).expect("rm");
    fs::write(world.at("g"), "g").expect("write");
    world.happened(&[("g", What::Deleted), ("f", What::Deleted)]);
    world.say(&ToServer::Done);
    assert_eq!(world.happened(&[]), []);
    let _ = before;
    let before = picture(world.dir.path());
    refused(&world);
    assert_eq!(picture(world.dir.path()), before);
}
