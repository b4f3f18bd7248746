//! Where the share server is not ours: the guest is told where something happened, and looks. What it can make of that is in
//! `docs/share.md`; what it did itself is for it to say, because here nobody can tell.

#[cfg(test)]
mod tests;

use super::ignored::Ignored;
use super::{IGNORE, MOST_PENDING, Say, due, frames};
use crate::plan::{Mount, Plan};
use notify::event::{Event, EventKind, ModifyKind};
use notify::{ErrorKind, RecursiveMode, Watcher};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Whether there was more than is kept until it is told.
    lost: Arc<AtomicBool>,
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
        let (root, directories) = (project.host.clone(), HashSet::new());
        Tree { root, ignored, directories, lost: Arc::default(), full: false, say }
    }

    /// Sends what the guest shall do, until nobody takes it.
    fn watch(&mut self, lists: &Sender<Vec<Act>>) {
        let (happens, happened) = sync_channel(MOST_PENDING);
        let lost = self.lost.clone();
        let hear = move |event| {
            if happens.try_send(event).is_err() {
                lost.store(true, Ordering::Relaxed);
            }
        };
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
        if self.lost.swap(false, Ordering::Relaxed) {
            self.anywhere(&mut news);
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
            self.anywhere(news);
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

    /// Something happened, and nobody knows where: each directory is looked at, which tells of it where that is read again.
    fn anywhere(&mut self, news: &mut News) {
        for dir in &self.directories {
            news.entry(dir.clone()).or_default();
        }
        self.not_all("there were more at once than is kept", Some(IGNORE));
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
                let why = format!("the project has more than {MOST_DIRECTORIES} directories");
                return self.not_all(&why, Some(IGNORE));
            }
            acts.push(Act::Watch(bytes(&path)));
            let entries = std::fs::read_dir(self.root.join(&path)).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            left.extend(below.map(|entry| path.join(entry.file_name())));
            self.directories.insert(path);
        }
    }

    fn cannot(&mut self, e: &notify::Error) {
        tracing::warn!("the project is not watched: {e}");
        let more = "sudo sysctl -w fs.inotify.max_user_watches=1048576";
        self.not_all(&e.to_string(), matches!(e.kind, ErrorKind::MaxFilesWatch).then_some(more));
    }

    /// Says once that something was not told, and why.
    fn not_all(&mut self, why: &str, next: Option<&str>) {
        if !std::mem::replace(&mut self.full, true) {
            let what = format!("not every change on the host reached watchers in the VM: {why}");
            (self.say)(what, next.map(str::to_owned));
        }
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}
