use super::{Outcome, Trees, Watch, change::Change, classes::Side, store::Store, walk};
use std::fs;
use std::path::{Path, PathBuf};

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

    fn watch(&self) -> Watch {
        let project = (walk::open(&self.root()).expect("open"), self.root());
        let (watch, ready) = Watch::start(&self.state(), "1:2:3", Trees { project, home: None }).expect("start");
        ready.blocking_recv().expect("the first walk is over");
        watch
    }

    /// A session during which `changes` happens, of a project with these protected paths.
    fn session(&self, protected: &[&str], changes: impl FnOnce(&Place)) -> Outcome {
        let watch = self.watch();
        changes(self);
        watch.finish(&protected.iter().map(PathBuf::from).collect::<Vec<_>>()).expect("finish")
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
