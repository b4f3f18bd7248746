//! The rules, asked through the trait as a hostile guest kernel would, over a real directory and without a machine.

use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use virtiofsd::fuse::ROOT_ID;
use virtiofsd::passthrough::{Config, PassthroughFs};

mod protected;

/// Leaves the share, or passes by a rule about a path.
const BAD: [&CStr; 6] = [c"", c".", c"..", c"../x", c"a/b", c"/x"];

/// One operation; `Ok` means that it was done.
type Op<'a, F> = (&'static str, Box<dyn Fn(&F) -> io::Result<()> + 'a>);

fn ctx() -> Context {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    Context { uid: uid.into(), gid: gid.into(), pid: 9 }
}

/// A share with a writable and a read-only tag, each with a file, a directory and in it a file.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    for tag in ["share/rw/d", "share/ro/d"] {
        fs::create_dir_all(dir.path().join(tag)).expect("mkdir");
        fs::write(dir.path().join(tag).join("inner"), "inner").expect("write");
        fs::write(dir.path().join(tag).join("../f"), "before").expect("write");
    }
    fs::write(dir.path().join("outside"), "precious").expect("write");
    dir
}

fn passthrough(dir: &Path) -> PassthroughFs {
    let root_dir = dir.join("share").to_str().expect("utf-8").to_string();
    PassthroughFs::new(Config { root_dir, xattr: true, ..Config::default() }).expect("passthrough")
}

fn guard(dir: &Path) -> Guard<PassthroughFs> {
    with_places(dir, Places::default())
}

fn with_places(dir: &Path, places: Places) -> Guard<PassthroughFs> {
    let tag = |writable| Tag { writable, coherent: false };
    let tags = BTreeMap::from([(b"rw".to_vec(), tag(true)), (b"ro".to_vec(), tag(false))]);
    let guard = Guard::new(passthrough(dir), tags, places);
    guard.init(FsOptions::empty()).expect("init");
    guard
}

fn find<F: FileSystem<Inode = u64, Handle = u64>>(fs: &F, path: &[&CStr]) -> u64 {
    path.iter().fold(ROOT_ID, |at, name| fs.lookup(ctx(), at, name).expect("lookup").inode)
}

/// What a reader of a real guest would bring along: bytes for a write.
struct Bytes(&'static [u8]);

impl ZeroCopyReader for Bytes {
    #[rustfmt::skip]
    fn write_to_file_at(
        &mut self, f: &fs::File, count: usize, off: u64, _: Option<virtiofsd::oslib::WritevFlags>,
    ) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(f, &self.0[..count], off)
    }
}

/// Every operation that takes a name, with `name` in `dir`.
fn named<F: FileSystem<Inode = u64, Handle = u64>>(dir: u64, file: u64, name: &CStr) -> Vec<Op<'_, F>> {
    let ext = Extensions::default;
    vec![
        ("lookup", Box::new(move |f: &F| f.lookup(ctx(), dir, name).map(drop))),
        ("create", Box::new(move |f: &F| f.create(ctx(), dir, name, 0o644, false, 2, 0, ext()).map(drop))),
        ("mknod", Box::new(move |f: &F| f.mknod(ctx(), dir, name, libc::S_IFREG | 0o644, 0, 0, ext()).map(drop))),
        ("mkdir", Box::new(move |f: &F| f.mkdir(ctx(), dir, name, 0o755, 0, ext()).map(drop))),
        ("symlink", Box::new(move |f: &F| f.symlink(ctx(), c"to", dir, name, ext()).map(drop))),
        ("link", Box::new(move |f: &F| f.link(ctx(), file, dir, name).map(drop))),
        ("unlink", Box::new(move |f: &F| f.unlink(ctx(), dir, name))),
        ("rmdir", Box::new(move |f: &F| f.rmdir(ctx(), dir, name))),
        ("rename from", Box::new(move |f: &F| f.rename(ctx(), dir, name, dir, c"new", 0))),
        ("rename to", Box::new(move |f: &F| f.rename(ctx(), dir, c"f", dir, name, 0))),
    ]
}

/// Everything that changes `file`, or an entry of `dir` other than by making one; the handle is open for writing.
fn changes<F: FileSystem<Inode = u64, Handle = u64>>(dir: u64, file: u64, handle: u64) -> Vec<Op<'static, F>> {
    let open = move |flags: i32| {
        Box::new(move |f: &F| f.open(ctx(), file, false, flags.cast_unsigned()).map(drop)) as Box<dyn Fn(&F) -> _>
    };
    let set = move |inode: u64, handle: Option<u64>, valid: SetattrValid| {
        let attr = SetattrIn { mode: 0o600, size: 1, mtime: 1, uid: ctx().uid, gid: ctx().gid, ..SetattrIn::default() };
        Box::new(move |f: &F| f.setattr(ctx(), inode, attr, handle, valid).map(drop)) as Box<dyn Fn(&F) -> _>
    };
    let none = SetxattrFlags::empty;
    vec![
        ("open to write", open(libc::O_WRONLY)),
        ("open to read and write", open(libc::O_RDWR)),
        ("open with the third mode", open(libc::O_ACCMODE)),
        ("open and truncate", open(libc::O_RDONLY | libc::O_TRUNC)),
        ("chmod", set(file, None, SetattrValid::MODE)),
        ("chmod of a directory", set(dir, None, SetattrValid::MODE)),
        ("chown", set(file, None, SetattrValid::UID | SetattrValid::GID)),
        ("truncate", set(file, None, SetattrValid::SIZE)),
        ("truncate the open file", set(file, Some(handle), SetattrValid::SIZE)),
        ("utimes", set(file, None, SetattrValid::MTIME)),
        ("write", Box::new(move |f| f.write(ctx(), file, handle, Bytes(b"x"), 1, 0, None, false, false, 0).map(drop))),
        ("fallocate", Box::new(move |f| f.fallocate(ctx(), file, handle, 0, 0, 99))),
        ("copy", Box::new(move |f| f.copyfilerange(ctx(), file, handle, 0, file, handle, 9, 1, 0).map(drop))),
        ("setxattr", Box::new(move |f| f.setxattr(ctx(), file, c"user.x", b"y", 0, none()))),
        ("removexattr", Box::new(move |f| f.removexattr(ctx(), file, c"user.x"))),
        ("may I write", Box::new(move |f| f.access(ctx(), file, libc::W_OK.cast_unsigned()))),
        ("rmdir", Box::new(move |f| f.rmdir(ctx(), dir, c"empty"))),
        ("rename", Box::new(move |f| f.rename(ctx(), dir, c"f", dir, c"g", 0))),
        ("unlink", Box::new(move |f| f.unlink(ctx(), dir, c"g"))),
    ]
}

fn code(result: io::Result<()>) -> i32 {
    result.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
}

#[test]
fn names_that_are_not_one_component_are_refused_by_every_operation() {
    let dir = tree();
    let guard = guard(dir.path());
    let (rw, file) = (find(&guard, &[c"rw"]), find(&guard, &[c"rw", c"f"]));
    for name in BAD {
        for (op, run) in named(rw, file, name).iter().chain(&named(ROOT_ID, file, name)) {
            assert_eq!(code(run(&guard)), libc::EINVAL, "{op} {name:?}");
        }
    }
    assert_eq!(fs::read_dir(dir.path().join("share/rw")).expect("list").count(), 2, "nothing was made");
}

#[test]
fn the_same_names_leave_the_share_without_the_guard() {
    let dir = tree();
    let bare = passthrough(dir.path());
    bare.init(FsOptions::empty()).expect("init");
    let (rw, at) = (find(&bare, &[c"rw"]), |name| dir.path().join(name));
    bare.unlink(ctx(), rw, c"../../outside").expect("unlink leaves");
    assert!(!at("outside").exists());
    bare.mkdir(ctx(), rw, c"../../evil", 0o755, 0, Extensions::default()).err().expect("made, but not found again");
    assert!(at("evil").exists());
    bare.rename(ctx(), rw, c"f", rw, c"../../stolen", 0).expect("rename leaves");
    assert!(at("stolen").exists());
}

#[test]
fn ordinary_names_work_in_a_writable_tag() {
    let dir = tree();
    for (n, (op, _)) in named::<Guard<PassthroughFs>>(0, 0, c"x").iter().enumerate() {
        let guard = guard(dir.path());
        let (rw, file) = (find(&guard, &[c"rw"]), find(&guard, &[c"rw", c"f"]));
        let name = if op.starts_with("lookup") || *op == "rename from" { c"d" } else { c"x" };
        match *op {
            "unlink" => fs::write(dir.path().join("share/rw/x"), "").expect("write"),
            "rmdir" => fs::create_dir(dir.path().join("share/rw/x")).expect("mkdir"),
            _ => {}
        }
        assert_eq!(code(named(rw, file, name)[n].1(&guard)), 0, "{op}");
        let _ = fs::remove_file(dir.path().join("share/rw/x"));
        let _ = fs::remove_dir(dir.path().join("share/rw/x"));
    }
}

#[test]
fn a_read_only_tag_and_the_root_are_never_changed() {
    let dir = tree();
    fs::create_dir(dir.path().join("share/ro/empty")).expect("mkdir");
    let guard = guard(dir.path());
    let (ro, file) = (find(&guard, &[c"ro"]), find(&guard, &[c"ro", c"f"]));
    let (inner_dir, inner) = (find(&guard, &[c"ro", c"d"]), find(&guard, &[c"ro", c"d", c"inner"]));
    let handle = guard.open(ctx(), file, false, 0).expect("reading is fine").0.expect("handle");
    let in_tag = named(ro, file, c"f").into_iter().chain(named(inner_dir, inner, c"inner"));
    let in_root = named(ROOT_ID, file, c"rw").into_iter().chain(changes(ROOT_ID, ROOT_ID, handle));
    let on_file = changes(ro, file, handle).into_iter().chain(changes(inner_dir, inner, handle));
    for (op, run) in in_tag.chain(on_file).chain(in_root).filter(|(op, _)| *op != "lookup") {
        assert_eq!(code(run(&guard)), libc::EROFS, "{op}");
    }
    assert_eq!(fs::read(dir.path().join("share/ro/f")).expect("read"), b"before");
}

#[test]
fn the_same_changes_work_in_a_writable_tag() {
    let dir = tree();
    fs::create_dir(dir.path().join("share/rw/empty")).expect("mkdir");
    let guard = guard(dir.path());
    let (rw, file) = (find(&guard, &[c"rw"]), find(&guard, &[c"rw", c"f"]));
    let handle = guard.open(ctx(), file, false, 2).expect("writing is fine").0.expect("handle");
    for (op, run) in changes(rw, file, handle) {
        assert_eq!(code(run(&guard)), 0, "{op}");
    }
}

#[test]
fn nothing_moves_between_tags_of_different_kinds() {
    let dir = tree();
    let guard = guard(dir.path());
    let (rw, ro) = (find(&guard, &[c"rw"]), find(&guard, &[c"ro"]));
    let (mine, theirs) = (find(&guard, &[c"rw", c"f"]), find(&guard, &[c"ro", c"f"]));
    assert_eq!(code(guard.rename(ctx(), ro, c"f", rw, c"g", 0)), libc::EROFS);
    assert_eq!(code(guard.rename(ctx(), rw, c"f", ro, c"g", 0)), libc::EROFS);
    assert_eq!(code(guard.link(ctx(), theirs, rw, c"g").map(drop)), libc::EROFS);
    assert_eq!(code(guard.link(ctx(), mine, ro, c"g").map(drop)), libc::EROFS);
}

#[test]
fn no_device_nodes_and_no_whiteouts() {
    let dir = tree();
    let guard = guard(dir.path());
    let rw = find(&guard, &[c"rw"]);
    let mknod = |name, mode| code(guard.mknod(ctx(), rw, name, mode, 0, 0, Extensions::default()).map(drop));
    for kind in [libc::S_IFCHR, libc::S_IFBLK, libc::S_IFDIR, libc::S_IFLNK, libc::S_IFMT] {
        assert_eq!(mknod(c"dev", kind | 0o666), libc::EPERM, "{kind:o}");
    }
    assert_eq!((mknod(c"pipe", libc::S_IFIFO | 0o600), mknod(c"sock", libc::S_IFSOCK | 0o600)), (0, 0));
    assert!(fs::symlink_metadata(dir.path().join("share/rw/pipe")).expect("stat").file_type().is_fifo());
    assert_eq!(code(guard.rename(ctx(), rw, c"f", rw, c"g", libc::RENAME_WHITEOUT)), libc::EINVAL);
    assert_eq!(code(guard.rename(ctx(), rw, c"f", rw, c"d", libc::RENAME_EXCHANGE)), 0);
}

#[test]
fn opens_neither_make_files_nor_name_them_only() {
    let dir = tree();
    let guard = guard(dir.path());
    let (rw, file) = (find(&guard, &[c"rw"]), find(&guard, &[c"rw", c"f"]));
    for flags in [libc::O_TMPFILE | libc::O_RDWR, UNNAMED | libc::O_RDWR, libc::O_CREAT, libc::O_PATH] {
        assert_eq!(code(guard.open(ctx(), file, false, flags.cast_unsigned()).map(drop)), libc::EINVAL);
        assert_eq!(code(guard.opendir(ctx(), rw, flags.cast_unsigned()).map(drop)), libc::EINVAL);
    }
    let create =
        |flags: i32| guard.create(ctx(), rw, c"n", 0o600, false, flags.cast_unsigned(), 0, Extensions::default());
    assert_eq!(code(create(libc::O_TMPFILE | libc::O_RDWR).map(drop)), libc::EINVAL);
    assert_eq!(code(create(libc::O_CREAT | libc::O_RDWR).map(drop)), 0);
}

const UNNAMED: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

#[test]
fn set_id_bits_stay_off_files_and_set_group_id_stays_on_directories() {
    let dir = tree();
    let guard = guard(dir.path());
    let rw = find(&guard, &[c"rw"]);
    let mode = |name: &str| fs::metadata(dir.path().join("share/rw").join(name)).expect("stat").mode() & 0o7777;
    let chmod = |inode, mode| {
        let attr = SetattrIn { mode, ..SetattrIn::default() };
        guard.setattr(ctx(), inode, attr, None, SetattrValid::MODE).expect("chmod succeeds");
    };
    guard.create(ctx(), rw, c"c", 0o6755, false, 2, 0, Extensions::default()).expect("create");
    guard.mknod(ctx(), rw, c"n", libc::S_IFREG | 0o6755, 0, 0, Extensions::default()).expect("mknod");
    let made = guard.mkdir(ctx(), rw, c"m", 0o6755, 0, Extensions::default()).expect("mkdir").inode;
    assert_eq!((mode("c"), mode("n"), mode("m") & 0o4000), (0o755, 0o755, 0));
    chmod(find(&guard, &[c"rw", c"c"]), libc::S_IFREG | 0o6711);
    chmod(made, libc::S_IFDIR | 0o7775);
    assert_eq!((mode("c"), mode("m")), (0o711, 0o3775), "chmod g+s and +t on a directory are real");
}

#[test]
fn a_set_id_bit_that_the_host_gave_is_gone_after_a_chmod() {
    let dir = tree();
    let path = dir.path().join("share/rw/f");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).expect("chmod");
    let guard = guard(dir.path());
    let file = find(&guard, &[c"rw", c"f"]);
    let attr = SetattrIn { mode: libc::S_IFREG | 0o4700, ..SetattrIn::default() };
    guard.setattr(ctx(), file, attr, None, SetattrValid::MODE).expect("chmod");
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o7777, 0o700);
}

#[test]
fn what_the_guest_forgot_it_cannot_change() {
    let dir = tree();
    let guard = guard(dir.path());
    let file = find(&guard, &[c"rw", c"f"]);
    guard.batch_forget(ctx(), vec![(file, 1)]);
    assert_eq!(code(guard.open(ctx(), file, false, 2).map(drop)), libc::EROFS);
    assert!(guard.open(ctx(), file, false, 0).is_err(), "and the file system does not know it either");
}

#[test]
fn only_what_may_have_been_written_is_told_to_be_closed() {
    let dir = tree();
    let guard = guard(dir.path());
    let file = find(&guard, &[c"rw", c"f"]);
    for (flags, asks) in [(0, false), (libc::O_WRONLY, true), (libc::O_RDWR, true), (libc::O_TRUNC, true)] {
        let (_, options) = guard.open(ctx(), file, false, flags.cast_unsigned()).expect("open");
        assert_eq!(!options.contains(OpenOptions::NOFLUSH), asks, "{flags:o}");
    }
}
