use super::{Bounds, Found, Side, Tree, leaves, open, walk};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

fn found(root: &Path, bounds: Bounds, known: &Tree) -> (Found, usize) {
    let mut read = 0;
    let open = open(root).expect("open");
    let found = walk(Side::Project, &open, root.as_os_str().as_bytes(), bounds, known, &mut |_, _| read += 1);
    (found, read)
}

fn tree(root: &Path) -> Tree {
    let (found, _) = found(root, Bounds::default(), &Tree::new());
    assert_eq!(found.skipped, None);
    found.tree
}

#[test]
fn what_is_listed_is_found_wherever_it_lies() {
    let dir = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| dir.path().join(name);
    for name in ["a/b/c/d/e/f", "node_modules/x", ".git/hooks", ".git/objects/aa", "sub/.git", ".vscode"] {
        fs::create_dir_all(at(name)).expect("mkdir");
    }
    for name in [
        "a/b/c/d/e/f/.EnvRC",
        "node_modules/x/.envrc",
        "node_modules/x/package.json",
        ".git/hooks/pre-commit",
        ".git/objects/aa/config",
        "Makefile",
        "src.rs",
        ".vscode/tasks.json",
        "\x1b]0;x\x07",
        "set-id",
        "\u{202e}exe",
    ] {
        fs::write(at(name), "x").expect("write");
    }
    fs::set_permissions(at("set-id"), PermissionsExt::from_mode(0o4755)).expect("chmod");
    symlink("/etc/passwd", at("out1")).expect("ln");
    symlink("../..", at("a/out2")).expect("ln");
    symlink("..", at("a/in")).expect("ln");
    symlink("/elsewhere", at(".idea")).expect("ln");
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let tree = tree(dir.path());
    let names: Vec<&str> = tree.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ".git/hooks/pre-commit",
            ".idea",
            ".vscode/tasks.json",
            "Makefile",
            "\\1b]0;x\\07",
            "\\e2\\80\\aeexe",
            "a/b/c/d/e/f/.EnvRC",
            "a/out2",
            "node_modules/x/.envrc",
            "out1",
            "pipe",
            "set-id",
            "sub/.git",
        ]
    );
    assert!(
        tree["set-id"].why.contains("owner") && tree["out1"].why.contains("link") && tree["sub/.git"].kind == "dir"
    );
}

#[test]
fn a_walk_ends_within_its_bounds_and_says_so() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut deep = dir.path().to_path_buf();
    for _ in 0..60 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).expect("mkdir");
    fs::write(dir.path().join(".envrc"), "").expect("write");
    let (deep, _) = found(dir.path(), Bounds::default(), &Tree::new());
    assert!(deep.skipped.as_deref().expect("told").starts_with("deeper than 40"));
    // Of all but what lies there it can tell.
    let there = format!("{}/Makefile", ["d"; 41].join("/"));
    assert_eq!(deep.tree.keys().map(|path| path.split('/').count()).collect::<Vec<_>>(), [1, 41], "and that itself");
    assert!(deep.tree.contains_key(".envrc") && deep.may_have_missed(&there) && !deep.may_have_missed("d/Makefile"));
    fs::remove_file(dir.path().join(".envrc")).expect("rm");
    for n in 0..300 {
        fs::write(dir.path().join(n.to_string()), "").expect("write");
    }
    let few = Bounds { names: 100, ..Bounds::default() };
    let (few, _) = found(dir.path(), few, &Tree::new());
    assert!(few.may_have_missed("Makefile") && few.skipped.expect("told").starts_with("more than 100 files"));
    let quick = Bounds { time: Duration::ZERO, ..Bounds::default() };
    assert!(found(dir.path(), quick, &Tree::new()).0.skipped.expect("told").contains("ms were over"));
    fs::write(dir.path().join("Makefile"), "12345").expect("write");
    fs::remove_dir_all(dir.path().join("d")).expect("rm");
    let small = Bounds { bytes: 4, ..Bounds::default() };
    assert!(found(dir.path(), small, &Tree::new()).0.skipped.expect("told").contains("to keep"));
    // A file of 50 GB that takes no room is not read at all.
    fs::File::create(dir.path().join(".envrc")).and_then(|f| f.set_len(50 << 30)).expect("sparse");
    assert_eq!(tree(dir.path())[".envrc"].sha, None);
}

#[test]
fn a_file_is_read_again_only_when_something_moved() {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::write(dir.path().join("Makefile"), "x").expect("write");
    let first = tree(dir.path());
    // Just written: its times may stand for two contents.
    assert_eq!(found(dir.path(), Bounds::default(), &first).1, 1);
    let mut settled = first.clone();
    let mut entry = settled.remove("Makefile").expect("listed");
    entry.sha = Some("of the last time".into());
    entry.stamp[4] -= 100;
    settled.insert("Makefile".into(), entry);
    let (again, read) = found(dir.path(), Bounds::default(), &settled);
    assert_eq!((read, &again.tree["Makefile"].sha), (1, &first["Makefile"].sha), "another time, so it is read");
}

#[test]
fn a_link_leaves_by_its_words() {
    for (path, to, out) in [
        ("a", "b", false),
        ("a", "..", true),
        ("d/a", "..", false),
        ("d/a", "../..", true),
        ("d/a", "x/../../y", false),
        ("a", "/p/x", false),
        ("a", "/p", false),
        ("a", "/px", true),
        ("a", "/p/../q", true),
        ("a", "/", true),
        ("a", "./../x", true),
    ] {
        assert_eq!(leaves(path.as_bytes(), to.as_bytes(), b"/p"), out, "{path} -> {to}");
    }
}

/// The promise is about a machine that has nothing else to do; here only that the walk ends, sees all, or says so.
#[test]
#[allow(clippy::disallowed_methods)] // a switch of the test
fn two_hundred_thousand_files_are_seen_or_it_is_said() {
    let many = if std::env::var_os("VMCLAUDE_TESTS").is_some_and(|v| v == "full") { 200 } else { 20 };
    let dir = tempfile::tempdir().expect("tempdir");
    for n in 0..many {
        let sub = dir.path().join(format!("d{n}"));
        fs::create_dir(&sub).expect("mkdir");
        for file in 0..995 {
            fs::write(sub.join(file.to_string()), "").expect("write");
        }
    }
    let start = std::time::Instant::now();
    let (found, _) = found(dir.path(), Bounds::default(), &Tree::new());
    println!("{} names in {:?}: {:?}", found.names, start.elapsed(), found.skipped);
    assert!(found.names == many * 996 || found.skipped.is_some());
    assert!(start.elapsed() < Duration::from_secs(10));
}
