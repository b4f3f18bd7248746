//! The search for the host's claude, and what a real directory looks like to the decision.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::find::{Search, find_host_claude};
use vmclaude_shim::registry::{Entry, FILE, Registry, render};
use vmclaude_shim::{Identity, Verdict};

struct World {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl World {
    /// `tree` is enrolled; `state/shims/claude` is ours.
    fn new() -> World {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("tree/bin")).expect("mkdir");
        let path = dir.path().canonicalize().expect("real").join("tree");
        let identity = Identity::of(&path).expect("stat");
        let registry = Registry::parse(render(&[Entry { identity, path }])).expect("whole");
        let world = World { dir, registry };
        world.program("state/shims");
        world
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.dir.path().join(rest)
    }

    fn program(&self, dir: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(dir)).expect("mkdir");
        let file = self.path(dir).join("claude");
        std::fs::write(&file, "#!/bin/sh\n").expect("write");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("chmod");
        file
    }

    fn find(&self, path: &str, skip: usize) -> Option<PathBuf> {
        let home = self.path("home");
        let search = Search {
            path: Some(OsStr::new(path)),
            home: Some(home.as_os_str()),
            state: &self.path("state"),
            registry: Some(&self.registry),
        };
        let mut tried = Vec::new();
        for _ in 0..skip {
            tried.push(find_host_claude(&search, &tried)?.1);
        }
        // The usual places include some outside this world, which the machine may really have.
        find_host_claude(&search, &tried).map(|(found, _)| found).filter(|found| found.starts_with(self.dir.path()))
    }

    /// Finds with these directories on PATH, `%` standing for the world's own.
    fn on(&self, path: &str) -> Option<PathBuf> {
        self.find(&path.replace('%', self.dir.path().to_str().expect("text")), 0)
    }
}

#[test]
fn never_ourselves_by_place_inode_or_copy() {
    let w = World::new();
    let host = w.program("host");
    std::fs::create_dir_all(w.path("hard")).expect("mkdir");
    std::fs::hard_link(w.path("state/shims/claude"), w.path("hard/claude")).expect("ln");
    std::fs::create_dir_all(w.path("soft")).expect("mkdir");
    symlink(w.path("state/shims/claude"), w.path("soft/claude")).expect("ln");
    w.program("old/vmclaude/shims");
    w.program("other/shims");
    std::fs::write(w.path("other").join(FILE), "").expect("write");
    symlink(w.path("other/shims"), w.path("link")).expect("ln");
    for (place, of) in [("far", "other/shims/claude"), ("shims", "host/claude")] {
        std::fs::create_dir_all(w.path(place)).expect("mkdir");
        symlink(w.path(of), w.path(place).join("claude")).expect("ln");
    }
    std::fs::write(w.path(FILE), "").expect("the world is a state as well: its shims are some");
    let all = "%/state/shims:%/hard:%/soft:%/old/vmclaude/shims:%/other/shims:%/link:%/far:%/shims:%/host";
    assert_eq!(w.on(all), Some(host));
}

#[test]
fn never_from_inside_a_tree_even_through_a_link() {
    let w = World::new();
    let inside = w.program("tree/node_modules/.bin");
    std::fs::create_dir_all(w.path("out")).expect("mkdir");
    symlink(inside, w.path("out/claude")).expect("ln");
    assert_eq!(w.on("%/tree/node_modules/.bin:%/out"), None);
    // The entry lies in the tree and leads out: whoever can write the tree can turn it.
    let host = w.program("host");
    symlink(&host, w.path("tree/bin/claude")).expect("ln");
    assert_eq!(w.on("%/tree/bin"), None);
    assert_eq!(w.on("%/tree/bin:%/host"), Some(host));
}

#[test]
fn relative_and_empty_entries_directories_and_plain_files_do_not_count() {
    let w = World::new();
    std::fs::create_dir_all(w.path("isdir/claude")).expect("mkdir");
    let plain = w.program("plain");
    std::fs::set_permissions(plain, PermissionsExt::from_mode(0o644)).expect("chmod");
    let host = w.program("host");
    // Above the root there is the root.
    let up = "../".repeat(64);
    let relative = format!("{up}{}/relative", w.dir.path().display());
    w.program("relative");
    assert!(Path::new(&relative).join("claude").exists(), "the control: it leads there");
    assert_eq!(w.on(&format!(":.:tree/bin:{relative}:%/isdir:%/plain:%/nothing:%/host")), Some(host));
}

#[test]
fn the_usual_places_come_after_path_and_a_repeated_one_is_skipped() {
    let w = World::new();
    let usual = w.program("home/.local/bin");
    assert_eq!(w.on(""), Some(usual.clone()));
    let host = w.program("host");
    symlink(w.path("host"), w.path("again")).expect("ln");
    let path = format!("{0}/host:{0}/again", w.dir.path().display());
    assert_eq!(w.find(&path, 0), Some(host));
    assert_eq!(w.find(&path, 1), Some(usual), "the second name of the same file is not another candidate");
    assert_eq!(w.find(&path, 2), None);
}

#[test]
fn a_moved_tree_is_known_and_a_new_directory_in_its_place_is_not_it() {
    let w = World::new();
    let verdict = |path: &Path| in_tree(&w.registry, &Chain::of(path.canonicalize().expect("real")));
    std::fs::rename(w.path("tree"), w.path("moved")).expect("mv");
    match verdict(&w.path("moved/bin")) {
        Verdict::Vm(tree) => assert!(tree.moved_from.expect("moved").ends_with("tree")),
        other => panic!("{other:?}"),
    }
    std::fs::create_dir(w.path("tree")).expect("mkdir");
    assert!(matches!(verdict(&w.path("tree")), Verdict::Refuse(_)));
    assert!(matches!(verdict(&w.path("state")), Verdict::Host { .. }));
}
