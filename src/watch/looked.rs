//! Where the share server is not ours: the guest is told where something happened, and looks. What it can make of that is in
//! `docs/share.md`; what it did itself is for it to say, because here nobody can tell.

use super::ignored::Ignored;
use super::{MOST_PENDING, Say, due, frames};
use crate::plan::{Mount, Plan};
use notify::event::{Event, EventKind, ModifyKind};
use notify::{ErrorKind, RecursiveMode, Watcher};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tokio::io::split;
use tokio::sync::mpsc::{self, Sender};
use vmclaude_init::wire::mux::Stream;
use vmclaude_init::wire::proto::{self, Act, MAX_TO_HOST, Noticed};

/// In more directories than this the guest is told nothing: for each it keeps a watch, and its system a descriptor.
const MOST_DIRECTORIES: usize = 10_000;
/// How many acts are sent together at most; the guest answers when it has done them.
const MOST_TOGETHER: usize = 400;
/// After so long without more, what came first after a while of quiet is told: nobody says when a save is whole.
const SOON: Duration = Duration::from_millis(5);

/// Watches the project, and has the guest look where something happened, until the guest is gone.
///
/// # Errors
/// When the guest's end breaks off.
pub async fn run(plan: &Plan, guest: Stream, say: Say) -> io::Result<()> {
    let Some(project) = plan.mounts.first().filter(|project| project.writable) else { return Ok(()) };
    let (from_guest, mut to_guest) = split(guest);
    let mut guest = frames::<Noticed>(from_guest, MAX_TO_HOST);
    // What watches is slow to start in a large tree, and calls us from threads of its own.
    let (lists, mut list) = mpsc::channel(1);
    let mut tree = Tree::new(project, Ignored::new(&plan.watch.ignore), say);
    std::thread::spawn(move || tree.watch(&lists));
    while guest.recv().await.is_some() {
        let Some(acts) = list.recv().await else { return Ok(()) };
        proto::send::<Vec<Act>>(&mut to_guest, &acts).await?;
    }
    Ok(())
}

/// The project, as far as it is watched. Paths are from its root.
struct Tree {
    root: PathBuf,
    ignored: Ignored,
    directories: HashSet<PathBuf>,
    full: bool,
    say: Say,
}

/// What happened to a name, joined.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Happened {
    /// Not only to its attributes.
    written: bool,
    /// It may be another one now.
    made: bool,
}

type News = BTreeMap<PathBuf, Happened>;

impl Tree {
    fn new(project: &Mount, ignored: Ignored, say: Say) -> Tree {
        Tree { root: project.host.clone(), ignored, directories: HashSet::new(), full: false, say }
    }

    /// Sends what the guest shall do, until nobody takes it.
    fn watch(&mut self, lists: &Sender<Vec<Act>>) {
        let (happens, happened) = sync_channel(MOST_PENDING);
        let hear = move |event| drop(happens.try_send(event));
        let watching = notify::recommended_watcher(hear).and_then(|mut watcher| {
            watcher.watch(&self.root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(_watcher) => self.pass_on(&happened, lists),
            Err(e) => self.cannot(&e),
        }
    }

    fn pass_on(&mut self, happened: &Receiver<notify::Result<Event>>, lists: &Sender<Vec<Act>>) {
        let send = |acts: Vec<Act>| acts.chunks(MOST_TOGETHER).all(|acts| lists.blocking_send(acts.to_vec()).is_ok());
        let (mut acts, mut told) = (Vec::new(), None);
        self.find(Path::new(""), &mut acts);
        while send(std::mem::take(&mut acts)) {
            let Some(news) = self.hear(happened, told) else { return };
            told = Some(Instant::now());
            acts = self.acts(news);
        }
    }

    /// What is told together next; `None`: nothing will happen any more.
    fn hear(&mut self, happened: &Receiver<notify::Result<Event>>, told: Option<Instant>) -> Option<News> {
        let mut news = News::new();
        while !self.note(happened.recv().ok()?, &mut news) {}
        let first = Instant::now();
        let mut last = first;
        let left = |last| due(first, last, told, SOON).saturating_duration_since(Instant::now());
        while let Ok(event) = happened.recv_timeout(left(last)) {
            if self.note(event, &mut news) {
                last = Instant::now();
            }
        }
        Some(news)
    }

    /// Joins this with the rest; whether there is anything to tell of it.
    fn note(&mut self, event: notify::Result<Event>, news: &mut News) -> bool {
        let event = match event {
            Ok(event) => event,
            Err(e) => {
                self.cannot(&e);
                return false;
            }
        };
        if event.need_rescan() {
            tracing::warn!("the host changes more than it can tell");
            news.extend(self.directories.iter().map(|dir| (dir.clone(), Happened::default())));
            return true;
        }
        // Reading is none, and opening and closing without writing.
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        let written = !matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_)));
        let made = matches!(event.kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_)));
        let mut noted = false;
        for path in event.paths.iter().filter_map(|path| path.strip_prefix(&self.root).ok()) {
            if path.parent().is_some_and(|parent| self.directories.contains(parent)) {
                let joined = news.entry(path.to_owned()).or_default();
                joined.written |= written;
                joined.made |= made;
                noted = true;
            }
        }
        noted
    }

    /// What the guest shall do about it: a directory comes before what is in it.
    fn acts(&mut self, news: News) -> Vec<Act> {
        let mut acts = Vec::new();
        for (path, happened) in news {
            let is_directory = self.root.join(&path).symlink_metadata().map(|meta| meta.is_dir());
            let known = self.directories.contains(&path);
            if known && (happened.made || !matches!(is_directory, Ok(true))) {
                self.directories.retain(|dir| !dir.starts_with(&path));
            }
            if matches!(is_directory, Ok(true)) && (happened.made || !known) {
                self.find(&path, &mut acts);
            }
            acts.push(Act::Look { path: bytes(&path), written: happened.written });
        }
        acts
    }

    /// Takes in a directory and those below it, the nearest first.
    fn find(&mut self, path: &Path, acts: &mut Vec<Act>) {
        let mut left = VecDeque::from([path.to_owned()]);
        while let Some(path) = left.pop_front() {
            if self.ignored.is(&self.root, &path) {
                continue;
            }
            if self.directories.len() >= MOST_DIRECTORIES {
                return self.is_full();
            }
            acts.push(Act::Watch(bytes(&path)));
            let entries = std::fs::read_dir(self.root.join(&path)).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(below.map(|entry| path.join(entry.file_name())));
            self.directories.insert(path);
        }
    }

    fn is_full(&mut self) {
        if !std::mem::replace(&mut self.full, true) {
            let what = format!(
                "not every change on the host reached watchers in the VM: the project has more than {MOST_DIRECTORIES} directories"
            );
            (self.say)(what, Some("[watch] ignore = [\"DIRECTORY/\"]   # in config.toml".to_owned()));
        }
    }

    fn cannot(&mut self, e: &notify::Error) {
        tracing::warn!("the project is not watched: {e}");
        if !std::mem::replace(&mut self.full, true) {
            let next = matches!(e.kind, ErrorKind::MaxFilesWatch)
                .then_some("sudo sysctl -w fs.inotify.max_user_watches=1048576");
            let what = format!("not every change on the host reached watchers in the VM: {e}");
            (self.say)(what, next.map(str::to_owned));
        }
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, CreateKind, MetadataKind, RemoveKind};
    use std::fs;

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
            full: false,
            say: Box::new(|what, _| panic!("{what}")),
        };
        (dir, tree)
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
        let said = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = said.clone();
        tree.say = Box::new(move |what, next| heard.lock().expect("lock").push((what, next)));
        tree.directories.extend((0..MOST_DIRECTORIES - 2).map(|n| PathBuf::from(format!("elsewhere/{n}"))));
        let mut acts = Vec::new();
        tree.find(Path::new(""), &mut acts);
        tree.find(Path::new("a/b"), &mut acts);
        assert_eq!(acts, [watch(""), watch("a")]);
        let said = said.lock().expect("lock");
        assert!(said.len() == 1 && said[0].0.contains("10000 directories") && said[0].1.is_some(), "{said:?}");
    }
}
