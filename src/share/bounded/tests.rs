//! The bounded file system by itself, over a real directory.

use super::*;
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use virtiofsd::filesystem::{Extensions, FsOptions, ZeroCopyReader, ZeroCopyWriter};
use virtiofsd::fuse::ROOT_ID;
use virtiofsd::passthrough::{Config, PassthroughFs};

mod model;

type Fs = Bounded<PassthroughFs>;

fn ctx() -> Context {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Context { uid: uid.into(), gid: gid.into(), pid: 9 }
}

/// A file system that fails when more than `most` descriptors (and a few in flight) are asked of the one below.
fn bounded(dir: &Path, most: usize) -> Fs {
    let root_dir = dir.to_str().expect("utf-8").to_string();
    let config = Config {
        root_dir,
        announce_submounts: true,
        guest_fd_limit: u64::try_from(most + 8).expect("small"),
        ..Config::default()
    };
    let inner = PassthroughFs::new(config).expect("passthrough");
    let fs = Bounded::new(inner, File::open(dir).expect("root"), most);
    fs.init(FsOptions::SUBMOUNTS).expect("init");
    fs
}

fn c(name: &str) -> CString {
    CString::new(name).expect("no zero")
}

struct Bytes(Vec<u8>);

impl ZeroCopyReader for Bytes {
    #[rustfmt::skip]
    fn write_to_file_at(
        &mut self, f: &File, count: usize, off: u64, _: Option<virtiofsd::oslib::WritevFlags>,
    ) -> io::Result<usize> {
        f.write_at(&self.0[..count], off)
    }
}

impl ZeroCopyWriter for &mut Bytes {
    #[rustfmt::skip]
    fn read_from_file_at(
        &mut self, f: &File, count: usize, off: u64, _: Option<virtiofsd::oslib::ReadvFlags>,
    ) -> io::Result<usize> {
        self.0.resize(count, 0);
        f.read_at(&mut self.0, off)
    }
}

/// The error, but for one that a kernel finds before it asks the file system: that a file is no directory.
fn code<T, E: std::borrow::Borrow<io::Error>>(result: Result<T, E>) -> i32 {
    match result.err().map_or(0, |e| e.borrow().raw_os_error().unwrap_or(-1)) {
        libc::ENOTDIR => libc::ENOENT,
        code => code,
    }
}

#[allow(clippy::disallowed_methods)] // Host is for the program; this is a switch of the test
fn full() -> bool {
    std::env::var_os("VMCLAUDE_TESTS").is_some_and(|v| v == "full")
}

/// One in so many files is read.
const LOOKED: usize = 97;

#[test]
fn a_large_tree_needs_few_descriptors() {
    // The limits of 1,024 and 4,096 without what the server keeps for itself.
    let (directories, files, most) = if full() { (1000, 500, 3396) } else { (45, 500, 324) };
    let dir = tempfile::tempdir().expect("tempdir");
    for n in 0..directories {
        let sub = dir.path().join(n.to_string());
        fs::create_dir(&sub).expect("mkdir");
        for m in 0..files {
            // What is not read has no bytes, which take long to remove where the disk is told of each free block.
            let text = if (n * files + m) % LOOKED == 0 { n.to_string() } else { String::new() };
            fs::write(sub.join(m.to_string()), text).expect("write");
        }
    }
    let fs = bounded(dir.path(), most);
    let mut ids = Vec::new();
    for n in 0..directories {
        let sub = fs.lookup(ctx(), ROOT_ID, &c(&n.to_string())).expect("lookup").inode;
        for m in 0..files {
            ids.push((n, fs.lookup(ctx(), sub, &c(&m.to_string())).expect("lookup").inode));
            assert!(fs.table().open() <= most);
        }
    }
    // All of them are still known, and each is the file that it was.
    for (n, id) in ids.iter().step_by(LOOKED) {
        let handle = fs.open(ctx(), *id, false, 0).expect("open").0.expect("a handle");
        let mut bytes = Bytes(Vec::new());
        let got = fs.read(ctx(), *id, handle, &mut bytes, 16, 0, None, 0).expect("read");
        assert_eq!(bytes.0[..got], *n.to_string().as_bytes());
        fs.release(ctx(), *id, 0, handle, false, false, None).expect("close");
    }
    assert!(fs.table().open() <= most && fs.table().len() > directories * files);
}

/// Forgets nothing and uses `other` files, so that what was not used meanwhile is closed.
fn crowd(fs: &Fs, dir: &Path, most: usize) {
    for n in 0..most * 2 {
        let name = format!("crowd{n}");
        fs::write(dir.join(&name), "").expect("write");
        fs.lookup(ctx(), ROOT_ID, &c(&name)).expect("lookup");
    }
}

#[test]
fn what_is_another_file_by_now_is_stale_and_found_anew() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("f"), "first").expect("write");
    fs::create_dir(dir.path().join("d")).expect("mkdir");
    let fs = bounded(dir.path(), 32);
    let (f, d) = (fs.lookup(ctx(), ROOT_ID, c"f").expect("f").inode, fs.lookup(ctx(), ROOT_ID, c"d").expect("d").inode);
    crowd(&fs, dir.path(), 32);
    fs::write(dir.path().join("new"), "second").expect("write");
    fs::rename(dir.path().join("new"), dir.path().join("f")).expect("rename");
    fs::rename(dir.path().join("d"), dir.path().join("e")).expect("rename");
    assert_eq!(code(fs.getattr(ctx(), f, None)), libc::ESTALE);
    assert_eq!(code(fs.lookup(ctx(), d, c"x").map(drop)), libc::ESTALE);
    let again = fs.lookup(ctx(), ROOT_ID, c"f").expect("f");
    assert_ne!(again.inode, f);
    assert_eq!(again.attr.size, 6);
    // The directory is the same one, only elsewhere, and with that its old number works again.
    assert_eq!(fs.lookup(ctx(), ROOT_ID, c"e").expect("e").inode, d);
    assert_eq!(code(fs.lookup(ctx(), d, c"x").map(drop)), libc::ENOENT);
}

#[test]
fn hard_links_are_one_file_however_often_it_is_closed() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::create_dir(dir.path().join("d")).expect("mkdir");
    fs::write(dir.path().join("f"), "").expect("write");
    fs::hard_link(dir.path().join("f"), dir.path().join("d/g")).expect("ln");
    let fs = bounded(dir.path(), 32);
    let d = fs.lookup(ctx(), ROOT_ID, c"d").expect("d").inode;
    let f = fs.lookup(ctx(), ROOT_ID, c"f").expect("f").inode;
    crowd(&fs, dir.path(), 32);
    assert_eq!(fs.lookup(ctx(), d, c"g").expect("g").inode, f);
    // The directory that it was last found in is given back; its name there is still the way to it.
    fs.forget(ctx(), d, 1);
    crowd(&fs, dir.path(), 32);
    assert_eq!(fs.getattr(ctx(), f, None).expect("f").0.nlink, 2);
}

/// Two file systems give equal inode numbers to different files.
#[test]
fn identity_has_the_device_in_it() {
    let one = Identity { mount: 1, dev: 1, ino: 5 };
    let mut table = Table::default();
    table.reset();
    let a = table.tell(ROOT_ID, c"a", 10, one, libc::S_IFREG);
    let mut given = Vec::new();
    table.shrink(0, &mut given);
    assert_eq!(given, [(10, 1)]);
    let b = table.tell(ROOT_ID, c"b", 11, Identity { dev: 2, ..one }, libc::S_IFREG);
    assert_ne!(a, b);
    assert_eq!(table.attach(12, one, libc::S_IFREG), Some(a));
    let real = look(&File::open("/").expect("root"), c"proc").expect("statx").identity;
    let other = look(&File::open("/").expect("root"), c"dev").expect("statx").identity;
    assert!(real.dev != other.dev && real.mount != other.mount, "{real:?} {other:?}");
}
