//! What the guest is told to look at, without one.

use super::*;
use notify::event::{AccessKind, CreateKind, Flag, MetadataKind, RemoveKind};
use std::fs;
use std::sync::Mutex;

fn tree(lines: &[&str]) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().canonicalize().expect("real");
    fs::create_dir_all(root.join("a/b")).expect("mkdir");
    fs::create_dir_all(root.join("node_modules/x")).expect("mkdir");
    std::os::unix::fs::symlink("a", root.join("link")).expect("ln");
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    let tree = Tree {
        root,
        ignored: Ignored::new(&lines),
        directories: HashSet::new(),
        lost: Arc::default(),
        full: false,
        say: Box::new(|what, _| panic!("{what}")),
    };
    (dir, tree)
}

type Said = Arc<Mutex<Vec<(String, Option<String>)>>>;

fn hear(tree: &mut Tree) -> Said {
    let said = Said::default();
    let heard = said.clone();
    tree.say = Box::new(move |what, next| heard.lock().expect("lock").push((what, next)));
    said
}

fn watch(path: &str) -> Act {
    Act::Watch(path.into())
}

fn look(path: &str, written: bool) -> Act {
    Act::Look { path: path.into(), written }
}

/// What the guest shall do about these events.
fn told(tree: &mut Tree, events: &[(EventKind, &str)]) -> Vec<Act> {
    let mut news = News::new();
    for (kind, path) in events {
        tree.note(Ok(Event::new(*kind).add_path(tree.root.join(path))), &mut news);
    }
    tree.acts(news)
}

#[test]
fn directories_are_taken_in_and_those_that_are_ignored_are_not() {
    let (_dir, mut whole) = tree(&[]);
    let mut acts = Vec::new();
    whole.find(Path::new(""), &mut acts);
    assert_eq!(acts, [watch(""), watch("a"), watch("a/b")]);
    let (_dir, mut part) = tree(&["b/"]);
    part.find(Path::new(""), &mut Vec::new());
    let changed = EventKind::Modify(ModifyKind::Any);
    let happened = [(changed, "a/f"), (changed, "a/b/f"), (changed, "node_modules/f")];
    assert_eq!(told(&mut part, &happened), [look("a/f", true)]);
}

#[test]
fn what_happens_to_a_name_is_told_once_and_reading_is_not() {
    let (_dir, mut tree) = tree(&[]);
    tree.find(Path::new(""), &mut Vec::new());
    let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    let read = EventKind::Access(AccessKind::Any);
    let changed = EventKind::Modify(ModifyKind::Any);
    assert_eq!(told(&mut tree, &[(read, "f"), (attributes, "g")]), [look("g", false)]);
    assert_eq!(told(&mut tree, &[(changed, "f"), (attributes, "f"), (changed, "")]), [look("f", true)]);
}

#[test]
fn a_new_directory_is_taken_in_before_what_is_in_it_and_an_old_one_goes() {
    let (_dir, mut tree) = tree(&[]);
    tree.find(Path::new(""), &mut Vec::new());
    fs::create_dir_all(tree.root.join("new/sub")).expect("mkdir");
    let made = EventKind::Create(CreateKind::Any);
    let acts = told(&mut tree, &[(made, "new"), (made, "a/f")]);
    assert_eq!(acts, [look("a/f", true), watch("new"), watch("new/sub"), look("new", true)]);
    fs::remove_dir_all(tree.root.join("new")).expect("rm");
    assert_eq!(told(&mut tree, &[(EventKind::Remove(RemoveKind::Any), "new")]), [look("new", true)]);
    assert_eq!(told(&mut tree, &[(made, "new/sub/f")]), []);
    // Another one in its place.
    assert_eq!(told(&mut tree, &[(made, "a")]), [watch("a"), watch("a/b"), look("a", true)]);
}

#[test]
fn in_a_tree_with_too_many_directories_the_nearest_are_watched_and_it_is_said_once() {
    let (_dir, mut tree) = tree(&[]);
    let said = hear(&mut tree);
    tree.directories.extend((0..MOST_DIRECTORIES - 2).map(|n| PathBuf::from(format!("elsewhere/{n}"))));
    let mut acts = Vec::new();
    tree.find(Path::new(""), &mut acts);
    tree.find(Path::new("a/b"), &mut acts);
    assert_eq!(acts, [watch(""), watch("a")]);
    let said = said.lock().expect("lock");
    assert!(said.len() == 1 && said[0].0.contains("10000 directories") && said[0].1.is_some(), "{said:?}");
}

#[test]
fn what_was_too_much_is_looked_for_everywhere_and_said_once() {
    let (_dir, mut tree) = tree(&[]);
    tree.find(Path::new(""), &mut Vec::new());
    let said = hear(&mut tree);
    let (happens, happened) = sync_channel(2);
    for lost in [false, true, false] {
        let event = Event::new(EventKind::Modify(ModifyKind::Any)).add_path(tree.root.join("a/f"));
        happens.send(Ok(event)).expect("sent");
        tree.lost.store(lost, Ordering::Relaxed);
        let news = tree.hear(&happened, None).expect("news");
        let more = [look("", false), look("a", false), look("a/b", false)];
        let acts = tree.acts(news);
        assert!(acts.contains(&look("a/f", true)) && more.iter().all(|act| acts.contains(act) == lost), "{acts:?}");
    }
    let mut news = News::new();
    tree.note(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &mut news);
    assert_eq!(news.len(), 3);
    let said = said.lock().expect("lock");
    assert!(said.len() == 1 && said[0].0.contains("than is kept") && said[0].1.is_some(), "{said:?}");
}
