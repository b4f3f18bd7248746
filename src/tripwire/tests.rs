use super::{Outcome, Protected, Trees, Watch, change::Change, classes::Side, restore, store::Store, walk};
use std::fs;
use std::path::{Path, PathBuf};

mod starts;

/// A project with a repository, and the state of its sessions.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().expect("tempdir") };
        fs::create_dir_all(place.at(".git/hooks")).expect("mkdir");
        place.write(".git/config", "[core]\n");
        place.write(".git/hooks/pre-commit", "echo mine\n");
        place
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().expect("a parent")).expect("mkdir");
        fs::write(self.at(path), text).expect("write");
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.at(path)).ok()
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn store(&self) -> Store {
        Store::open(&self.state(), "1:2:3").expect("store")
    }

    /// The git directory outside of the project, where there is one.
    fn git(&self) -> PathBuf {
        self.dir.path().join("git")
    }

    fn trees(&self, protected: &[&str]) -> Trees {
        let open = |path: PathBuf| Some((walk::open(&path).ok()?, path));
        let project = open(self.root()).expect("open");
        let paths = protected.iter().map(Path::new);
        let outside: &[&str] = if self.git().exists() { &["config", "commondir", "hooks"] } else { &[] };
        let protected = Protected::new(paths, outside.iter().map(Path::new));
        Trees { project, home: None, git: open(self.git()), protected }
    }

    fn watch(&self, protected: &[&str]) -> Watch {
        let (watch, ready) = Watch::start(&self.state(), "1:2:3", self.trees(protected)).expect("start");
        ready.blocking_recv().expect("the first walk is over");
        watch
    }

    /// A session during which `changes` happens, of a project with these protected paths.
    fn session(&self, protected: &[&str], changes: impl FnOnce(&Place)) -> Outcome {
        let watch = self.watch(protected);
        changes(self);
        watch.finish().expect("finish")
    }

    /// A session that is killed: its note stays, and nobody holds it.
    fn killed(&self, protected: &[&str], changes: impl FnOnce(&Place)) {
        let Watch { first, .. } = self.watch(protected);
        changes(self);
        drop(first.join().expect("no panic").expect("the first walk"));
    }
}

fn names(changes: &[Change]) -> Vec<(&'static str, &str)> {
    changes.iter().map(|c| (c.word(), c.path.as_str())).collect()
}

#[test]
fn what_was_put_back_waits_with_its_bytes_until_somebody_has_looked() {
    let place = Place::new();
    let outcome = place.session(&[".git/config", ".git/hooks"], |p| {
        p.write(".git/config", "[remote]\n");
        p.write(".git/hooks/post-commit", "echo evil\n");
        p.write("Makefile", "all:\n");
    });
    assert_eq!(outcome.put_back.len(), 2);
    assert_eq!(place.read(".git/config").as_deref(), Some("[core]\n"));
    assert_eq!(place.read(".git/hooks/post-commit"), None);
    assert_eq!(names(&outcome.changes), [("new", "Makefile")]);
    // Sessions that change nothing, and one that changes it again, lose none of it.
    place.session(&[".git/config"], |_| {});
    place.session(&[".git/config"], |p| p.write(".git/config", "[alias]\n"));
    let waiting = place.store().waiting();
    let put_back = ("put back", ".git/config");
    assert_eq!(
        names(&waiting.changes),
        [put_back, put_back, ("put back", ".git/hooks/post-commit"), ("new", "Makefile")]
    );
    let bytes: Vec<_> =
        waiting.changes[..3].iter().filter_map(|c| fs::read(place.store().kept_at(c.after.as_ref()?)?).ok()).collect();
    assert_eq!(bytes, [&b"[remote]\n"[..], b"[alias]\n", b"echo evil\n"]);
    assert_eq!(waiting.tree(Side::Project), Path::new(&place.root()));
}

const GIT: [&str; 4] = [".git/config", ".git/commondir", ".git/hooks", ".vmclaude.toml"];

#[test]
fn what_is_protected_is_reached_where_the_walk_does_not_get() {
    let place = Place::new();
    let deep = ["d"; 45].join("/");
    let [config, commondir] = ["config", "commondir"].map(|name| format!("{deep}/.git/{name}"));
    place.write(&config, "[core]\n");
    let outcome = place.session(&[&config, &commondir], |p| {
        p.write(&config, "[evil]\n");
        p.write(&commondir, "../evil\n");
    });
    assert_eq!((outcome.put_back.len(), outcome.unchecked.as_deref()), (2, None), "{outcome:?}");
    assert!(outcome.skipped.is_some(), "the walk does not get there");
    assert_eq!((place.read(&config).as_deref(), place.read(&commondir)), (Some("[core]\n"), None));
}

#[test]
fn another_spelling_of_a_protected_name_is_no_way_around() {
    let place = Place::new();
    let outcome = place.session(&GIT, |p| {
        p.write(".git/COMMONDIR", "../evil\n");
        fs::rename(p.at(".git/hooks"), p.at(".git/HOOKS")).expect("mv");
        p.write(".git/HOOKS/post-commit", "echo evil\n");
    });
    assert!(outcome.put_back.iter().all(|put| put.failed.is_none()), "{outcome:?}");
    assert_eq!(place.read(".git/hooks/pre-commit").as_deref(), Some("echo mine\n"));
    for path in [".git/COMMONDIR", ".git/HOOKS/post-commit", ".git/HOOKS/pre-commit"] {
        assert_eq!(place.read(path), None, "{path}");
    }
    // A second name of one file, as on a file system without case, is not removed: it is the file.
    let outcome = place.session(&GIT, |p| fs::hard_link(p.at(".git/config"), p.at(".git/CONFIG")).expect("ln"));
    assert_eq!((outcome.put_back.len(), place.read(".git/CONFIG").as_deref()), (0, Some("[core]\n")));
}

#[test]
fn what_a_killed_session_left_is_put_back_before_the_next_one() {
    let place = Place::new();
    fs::create_dir(place.git()).expect("mkdir");
    place.killed(&GIT, |p| {
        p.write(".git/hooks/post-commit", "echo evil\n");
        fs::write(p.git().join("config"), "[evil]\n").expect("write");
        p.write("Makefile", "all:\n");
    });
    // The next run is of another opinion about what is protected, and has no git directory outside.
    fs::rename(place.git(), place.dir.path().join("away")).expect("mv");
    let watch = place.watch(&[]);
    drop(watch.first.join().expect("no panic").expect("the first walk"));
    assert_eq!(place.read(".git/hooks/post-commit"), None);
    let waiting = place.store().waiting();
    assert_eq!(names(&waiting.changes), [("put back", ".git/hooks/post-commit"), ("new", "Makefile")]);

    fs::rename(place.dir.path().join("away"), place.git()).expect("mv");
    fs::remove_file(place.git().join("config")).expect("rm");
    place.killed(&GIT, |p| fs::write(p.git().join("config"), "[evil]\n").expect("write"));
    let outcome = place.session(&[], |_| {});
    assert!(outcome.put_back.len() == 1 && outcome.put_back[0].lost, "{outcome:?}");
    assert!(!place.git().join("config").exists());
}

#[test]
fn a_link_or_a_directory_in_place_of_something_is_put_out_of_the_way() {
    let place = Place::new();
    place.write("m/.git", "gitdir: ../.git\n");
    let protected = [".git/config", ".git/commondir", ".git/hooks", "m/.git"];
    let outcome = place.session(&protected, |p| {
        // The whole directory is elsewhere, and a link leads there.
        fs::rename(p.at(".git"), p.at("moved")).expect("mv");
        p.write("moved/config", "[evil]\n");
        std::os::unix::fs::symlink("moved", p.at(".git")).expect("ln");
        fs::remove_file(p.at("moved/hooks/pre-commit")).expect("rm");
        fs::remove_file(p.at("m/.git")).expect("rm");
        p.write("m/.git/config", "[evil]\n");
    });
    assert!(outcome.put_back.iter().all(|put| put.failed.is_none()), "{outcome:?}");
    assert!(place.at(".git").symlink_metadata().expect("it is there").is_dir());
    assert_eq!(place.read(".git/config").as_deref(), Some("[core]\n"));
    assert_eq!(place.read(".git/hooks/pre-commit").as_deref(), Some("echo mine\n"));
    assert_eq!(place.read("m/.git").as_deref(), Some("gitdir: ../.git\n"));
    let aside: Vec<_> = outcome.put_back.iter().filter_map(|put| put.aside.as_deref()).collect();
    assert_eq!(aside, ["m/.git.vmclaude-1"]);
    assert_eq!(place.read("m/.git.vmclaude-1/config").as_deref(), Some("[evil]\n"), "nothing is lost");
    let outcome = place.session(&protected, |p| {
        fs::remove_file(p.at(".git/hooks/pre-commit")).expect("rm");
        p.write(".git/hooks/pre-commit/x", "in a directory");
    });
    assert!(outcome.put_back.iter().all(|put| put.failed.is_none()), "{outcome:?}");
    assert_eq!(place.read(".git/hooks/pre-commit").as_deref(), Some("echo mine\n"));
}

#[test]
fn more_than_is_looked_at_is_moved_aside_as_a_whole() {
    let place = Place::new();
    let outcome = place.session(&GIT, |p| {
        (0..6000).for_each(|n| p.write(&format!(".git/hooks/{n}"), ""));
        p.write(".git/hooks/post-commit", "echo evil\n");
    });
    assert_eq!(fs::read_dir(place.at(".git/hooks")).expect("list").count(), 1);
    assert_eq!(place.read(".git/hooks/pre-commit").as_deref(), Some("echo mine\n"));
    assert_eq!(place.read(".git/hooks.vmclaude-1/post-commit").as_deref(), Some("echo evil\n"));
    assert!(outcome.put_back.len() == 1 && outcome.unchecked.is_none(), "{outcome:?}");
}

#[test]
fn what_another_session_planted_meanwhile_is_not_how_it_shall_be_again() {
    let place = Place::new();
    let one = place.watch(&GIT);
    place.write(".git/hooks/post-commit", "echo evil\n");
    let other = place.watch(&GIT);
    assert_eq!(one.finish().expect("finish").put_back.len(), 1);
    let outcome = other.finish().expect("finish");
    assert_eq!((outcome.put_back.len(), place.read(".git/hooks/post-commit")), (0, None), "{outcome:?}");
}

#[test]
fn a_git_directory_outside_is_checked_and_put_back_too() {
    let place = Place::new();
    fs::create_dir(place.git()).expect("mkdir");
    fs::write(place.git().join("config"), "[core]\n").expect("write");
    let outcome = place.session(&[], |p| {
        fs::write(p.git().join("config"), "[evil]\n").expect("write");
        fs::write(p.git().join("commondir"), "evil\n").expect("write");
        fs::write(p.git().join("index"), "fine").expect("write");
    });
    assert_eq!(outcome.put_back.len(), 2, "{outcome:?}");
    assert_eq!(fs::read(place.git().join("config")).expect("read"), b"[core]\n");
    assert!(!place.git().join("commondir").exists() && place.git().join("index").exists());
    let waiting = place.store().waiting();
    assert_eq!(names(&waiting.changes), [("put back", "commondir"), ("put back", "config")]);
    assert_eq!(waiting.tree(Side::Git), place.git());
}

#[test]
fn a_short_session_forgets_nothing_that_a_longer_one_needs() {
    let place = Place::new();
    place.write("Makefile", "mine:\n");
    let long = place.watch(&[]);
    place.write("Makefile", "evil:\n");
    place.session(&[], |_| {});
    let outcome = long.finish().expect("finish");
    assert_eq!(names(&outcome.changes), [("changed", "Makefile")]);
    let root = walk::open(&place.root()).expect("open");
    restore(&place.store(), &root, &outcome.changes[0]).expect("its bytes are there");
    assert_eq!(place.read("Makefile").as_deref(), Some("mine:\n"));
}

#[test]
fn a_new_directory_counts_as_restored_when_it_was_removed() {
    let place = Place::new();
    let outcome = place.session(&[], |p| p.write("z/.git/HEAD", ""));
    let change = outcome.changes.iter().find(|c| c.path == "z/.git").expect("listed");
    let root = walk::open(&place.root()).expect("open");
    let refused = restore(&place.store(), &root, change).expect_err("it has something in it");
    assert_eq!(refused.next.as_deref(), Some("rm -r z/.git"));
    fs::remove_dir_all(place.at("z")).expect("rm");
    restore(&place.store(), &root, change).expect("nothing is there any more");
}
