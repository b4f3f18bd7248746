//! Protected paths against requests that no ordinary guest sends. Each attack is also made where nothing is protected,
//! where it must succeed: otherwise it proves nothing.

use super::*;

/// The project of these tests: a repository, and a way that is not there yet.
fn project() -> tempfile::TempDir {
    let dir = tree();
    for path in ["rw/.git/hooks", "rw/.git/objects", "rw/.git/empty"] {
        fs::create_dir_all(dir.path().join("share").join(path)).expect("mkdir");
    }
    for path in ["rw/.git/config", "rw/.git/hooks/pre-commit", "rw/.git/index", "rw/plain"] {
        fs::write(dir.path().join("share").join(path), "before").expect("write");
    }
    dir
}

fn places() -> Places {
    let paths: [&[u8]; 6] = [b".git/config", b".git/hooks", b".git/commondir", b"way/to/file", b"top", b"d/inner"];
    Places::new(paths.map(|path| (&b"rw"[..], path, false)))
}

/// Every byte and name of a tree.
fn picture(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        let path = entry.path();
        match entry.file_type().expect("type").is_dir() {
            true => all.extend(picture(&path)),
            false => all.push((path.clone(), fs::read(&path).unwrap_or_default())),
        }
        all.push((path, Vec::new()));
    }
    all.sort();
    all
}

type Attack = (&'static str, fn(&Guard<PassthroughFs>) -> io::Result<()>);

fn ext() -> Extensions {
    Extensions::default()
}

fn git(g: &Guard<PassthroughFs>) -> u64 {
    find(g, &[c"rw", c".git"])
}

fn create(g: &Guard<PassthroughFs>, dir: u64, name: &CStr) -> io::Result<()> {
    g.create(ctx(), dir, name, 0o644, false, (libc::O_CREAT | libc::O_RDWR | libc::O_TRUNC) as u32, 0, ext()).map(drop)
}

/// Another mechanism or another target each.
const ATTACKS: [Attack; 27] = [
    ("open the configuration to write", |g| g.open(ctx(), find(g, &[c"rw", c".git", c"config"]), false, 1).map(drop)),
    ("create over it", |g| create(g, git(g), c"config")),
    ("truncate it", |g| {
        let attr = SetattrIn { size: 0, ..SetattrIn::default() };
        g.setattr(ctx(), find(g, &[c"rw", c".git", c"config"]), attr, None, SetattrValid::SIZE).map(drop)
    }),
    ("remove it", |g| g.unlink(ctx(), git(g), c"config")),
    ("rename over it", |g| g.rename(ctx(), git(g), c"index", git(g), c"config", 0)),
    ("rename it away", |g| g.rename(ctx(), git(g), c"config", git(g), c"old", 0)),
    ("exchange it", |g| g.rename(ctx(), git(g), c"index", git(g), c"config", libc::RENAME_EXCHANGE)),
    ("exchange it the other way", |g| g.rename(ctx(), git(g), c"config", git(g), c"index", libc::RENAME_EXCHANGE)),
    ("link it elsewhere", |g| g.link(ctx(), find(g, &[c"rw", c".git", c"config"]), find(g, &[c"rw"]), c"x").map(drop)),
    ("change a hook", |g| g.open(ctx(), find(g, &[c"rw", c".git", c"hooks", c"pre-commit"]), false, 2).map(drop)),
    ("make a hook executable", |g| {
        let attr = SetattrIn { mode: 0o755, ..SetattrIn::default() };
        g.setattr(ctx(), find(g, &[c"rw", c".git", c"hooks", c"pre-commit"]), attr, None, SetattrValid::MODE).map(drop)
    }),
    ("make a hook", |g| create(g, find(g, &[c"rw", c".git", c"hooks"]), c"post-checkout")),
    ("link a hook in", |g| {
        let (plain, hooks) = (find(g, &[c"rw", c"plain"]), find(g, &[c"rw", c".git", c"hooks"]));
        g.link(ctx(), plain, hooks, c"post-checkout").map(drop)
    }),
    ("move a hook in", |g| g.rename(ctx(), find(g, &[c"rw"]), c"plain", find(g, &[c"rw", c".git", c"hooks"]), c"h", 0)),
    ("remove a hook", |g| g.unlink(ctx(), find(g, &[c"rw", c".git", c"hooks"]), c"pre-commit")),
    ("move the hooks away", |g| g.rename(ctx(), git(g), c"hooks", git(g), c"old", 0)),
    ("put another directory in their place", |g| {
        g.rename(ctx(), git(g), c"empty", git(g), c"hooks", libc::RENAME_EXCHANGE)
    }),
    ("make what is missing", |g| create(g, git(g), c"commondir")),
    ("make it a link", |g| g.symlink(ctx(), c"../plain", git(g), c"commondir", ext()).map(drop)),
    ("make it a directory", |g| g.mkdir(ctx(), git(g), c"commondir", 0o755, 0, ext()).map(drop)),
    ("make it a pipe", |g| g.mknod(ctx(), git(g), c"commondir", libc::S_IFIFO | 0o600, 0, 0, ext()).map(drop)),
    ("move the repository away", |g| g.rename(ctx(), find(g, &[c"rw"]), c".git", find(g, &[c"rw"]), c".old", 0)),
    ("exchange the repository", |g| {
        g.rename(ctx(), find(g, &[c"rw"]), c"d", find(g, &[c"rw"]), c".git", libc::RENAME_EXCHANGE)
    }),
    ("lead the way elsewhere", |g| g.symlink(ctx(), c".git", find(g, &[c"rw"]), c"way", ext()).map(drop)),
    ("move a directory into the way", |g| g.rename(ctx(), git(g), c"empty", find(g, &[c"rw"]), c"way", 0)),
    ("make a file in the way", |g| create(g, find(g, &[c"rw"]), c"way")),
    ("spell it differently", |g| create(g, git(g), c"CommonDir")),
];

#[test]
fn every_attack_on_a_protected_path_fails_and_succeeds_on_one_that_is_not() {
    for (name, attack) in ATTACKS {
        let dir = project();
        let before = picture(dir.path());
        let guard = with_places(dir.path(), places());
        assert_eq!(code(attack(&guard)), libc::EROFS, "{name}");
        assert_eq!(picture(dir.path()), before, "{name}");
        assert_eq!(code(attack(&super::guard(dir.path()))), 0, "{name}: the control");
    }
}

#[test]
fn the_directories_on_the_way_can_be_made_and_used_and_not_be_moved() {
    let dir = project();
    let guard = with_places(dir.path(), places());
    let rw = find(&guard, &[c"rw"]);
    let way = guard.mkdir(ctx(), rw, c"way", 0o755, 0, ext()).expect("mkdir").inode;
    let to = guard.mkdir(ctx(), way, c"to", 0o755, 0, ext()).expect("mkdir").inode;
    create(&guard, to, c"other").expect("a file beside it");
    assert_eq!(code(create(&guard, to, c"file")), libc::EROFS);
    assert_eq!(code(guard.rename(ctx(), way, c"to", way, c"from", 0)), libc::EROFS);
    guard.unlink(ctx(), to, c"other").expect("unlink");
    assert_eq!(code(guard.rmdir(ctx(), way, c"to")), libc::EROFS);
    let git = git(&guard);
    create(&guard, git, c"index.lock").expect("a lock");
    guard.rename(ctx(), git, c"index.lock", git, c"index", 0).expect("what git does all the time");
    create(&guard, rw, c"new").expect("a file of the project");
    guard.rename(ctx(), rw, c"new", rw, c"newer", 0).expect("rename");
    guard.unlink(ctx(), rw, c"newer").expect("unlink");
}

#[test]
fn what_the_host_puts_there_is_protected_too() {
    let dir = project();
    let guard = with_places(dir.path(), places());
    find(&guard, &[c"rw", c".git", c"config"]);
    fs::write(dir.path().join("share/rw/.git/new"), "of the host").expect("write");
    fs::rename(dir.path().join("share/rw/.git/new"), dir.path().join("share/rw/.git/config")).expect("rename");
    fs::write(dir.path().join("share/rw/top"), "of the host").expect("write");
    for path in [&[c"rw", c".git", c"config"][..], &[c"rw", c"top"]] {
        assert_eq!(code(guard.open(ctx(), find(&guard, path), false, 2).map(drop)), libc::EROFS, "{path:?}");
    }
}

#[test]
fn a_second_name_is_no_way_around() {
    let dir = project();
    let at = |name: &str| dir.path().join("share/rw").join(name);
    fs::hard_link(at(".git/config"), at("alias")).expect("ln");
    fs::hard_link(at("plain"), at("other")).expect("ln");
    let guard = with_places(dir.path(), places());
    let rw = find(&guard, &[c"rw"]);
    assert_eq!(code(create(&guard, rw, c"alias")), libc::EROFS, "a create opens what is there");
    assert_eq!(code(guard.open(ctx(), find(&guard, &[c"rw", c"alias"]), false, 2).map(drop)), libc::EROFS);
    assert_eq!(
        code(guard.rename(ctx(), rw, c"alias", rw, c"new", 0)),
        libc::EROFS,
        "as if a file system knew it by both"
    );
    assert_eq!(code(guard.unlink(ctx(), rw, c"alias")), libc::EROFS);
    assert_eq!(code(create(&guard, rw, c"other")), 0, "the control");
    assert_eq!(code(guard.unlink(ctx(), rw, c"other")), 0, "the control");
}

#[test]
fn forgetting_more_than_was_looked_up_takes_nothing_from_others() {
    let dir = project();
    let at = |name: &str| dir.path().join("share/rw").join(name);
    fs::hard_link(at(".git/config"), at("alias")).expect("ln");
    let guard = with_places(dir.path(), places());
    let config = find(&guard, &[c"rw", c".git", c"config"]);
    guard.forget(ctx(), config, u64::MAX);
    assert_eq!(code(guard.open(ctx(), find(&guard, &[c"rw", c"alias"]), false, 2).map(drop)), libc::EROFS);
    guard.batch_forget(ctx(), vec![(config, 9), (ROOT_ID, 9)]);
    assert_eq!(code(guard.open(ctx(), find(&guard, &[c"rw", c"alias"]), false, 2).map(drop)), libc::EROFS);
}
