//! What of Git's a project holds: where its configuration and its hooks are. Nothing is executed, no link is followed
//! out of the project, and the walk is bounded.

use crate::plan::protect::{Git, HEAD};
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// How deep repositories inside of the project are looked for, and how many directory entries that may cost.
const DEPTH: usize = 3;
const ENTRIES: usize = 100_000;
/// How deep submodules are looked for: theirs lie inside each other, and their names may have slashes. And how many directory
/// entries the insides of all repositories may cost: guests write there.
const MODULES: usize = 6;
const INSIDE: usize = 20_000;
/// The longest pointer.
const LONGEST: u64 = 1 << 16;
/// Large trees that are made by tools.
const SKIPPED: [&str; 3] = [".git", "node_modules", "target"];

/// Everything of Git's in the project at `root`; `Err`: the same, but there are more directories than were looked into.
pub fn find(root: &Path) -> Result<Vec<Git>, Vec<Git>> {
    let mut search = Search::new(root);
    search.tree();
    let all = search.tree > 0;
    let found = search.found();
    if all { Ok(found) } else { Err(found) }
}

/// Everything of Git's in a git directory that lies by itself, from there.
pub fn find_in(dir: &Path) -> Vec<Git> {
    let mut search = Search::new(dir);
    search.directory(Path::new(""));
    search.found()
}

/// What a file says that may be a pointer. It is the guest's word: a pipe there would keep us for ever, and a file may be of any size.
fn pointer(path: &Path) -> Option<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::File::options().read(true).custom_flags(flags).open(path).ok()?;
    let mut text = String::new();
    file.metadata().ok()?.is_file().then_some(file)?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

struct Search<'a> {
    root: &'a Path,
    /// How many entries may still be read, of the working tree and inside of repositories: who fills one up hides nothing in
    /// the other.
    tree: usize,
    inside: usize,
    found: Vec<Git>,
}

impl Search<'_> {
    fn new(root: &Path) -> Search<'_> {
        Search { root, tree: ENTRIES, inside: INSIDE, found: Vec::new() }
    }

    fn found(mut self) -> Vec<Git> {
        self.found.sort();
        self.found.dedup();
        self.found
    }

    /// The working tree, what is near its root first.
    fn tree(&mut self) {
        let mut level = vec![PathBuf::new()];
        for depth in 0..=DEPTH {
            level.iter().for_each(|dir| self.repository(&dir.join(".git")));
            if depth == DEPTH {
                return;
            }
            let mut next = Vec::new();
            for dir in level {
                let names = directories(&self.root.join(&dir), &mut self.tree);
                next.extend(names.into_iter().filter(|name| !is_skipped(name)).map(|name| dir.join(name)));
            }
            level = next;
        }
    }

    /// What may be a repository: a directory, or a file or a link that leads to one.
    fn repository(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(self.root.join(path)) else { return };
        // A file system that finds it by another spelling would find a HEAD by others, too.
        let exact = fs::symlink_metadata(self.root.join(path.with_file_name(".GIT"))).is_err();
        self.found.push(Git::Beside(path.with_file_name(HEAD), exact));
        if meta.is_dir() {
            return self.directory(path);
        }
        self.found.push(Git::Pointer(path.to_path_buf()));
        let text = || pointer(&self.root.join(path)).filter(|_| meta.is_file());
        let target = match meta.is_symlink() {
            true => fs::read_link(self.root.join(path)).ok(),
            false => text().and_then(|text| Some(PathBuf::from(text.strip_prefix("gitdir:")?.trim()))),
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        if let Some(inside) = target.and_then(|target| self.inside(&dir.join(target))) {
            let linked = self.root.join(&inside).join("commondir").exists();
            if linked {
                self.found.push(Git::Worktree(inside));
            } else {
                self.directory(&inside);
            }
        }
    }

    fn directory(&mut self, path: &Path) {
        self.found.push(Git::Directory(path.to_path_buf()));
        let worktrees = path.join("worktrees");
        for name in self.inside_of(&worktrees) {
            self.found.push(Git::Worktree(worktrees.join(name)));
        }
        self.modules(&path.join("modules"), MODULES);
    }

    fn modules(&mut self, dir: &Path, depth: usize) {
        for name in self.inside_of(dir) {
            let path = dir.join(name);
            if fs::symlink_metadata(self.root.join(&path).join(HEAD)).is_ok() {
                self.directory(&path);
            } else if depth > 0 {
                self.modules(&path, depth - 1);
            } else {
                self.found.push(Git::Unseen(path));
            }
        }
    }

    /// The names of the directories in `dir`, which is part of a repository: one of which not all was read is protected
    /// as a whole.
    fn inside_of(&mut self, dir: &Path) -> Vec<PathBuf> {
        let names = directories(&self.root.join(dir), &mut self.inside);
        if self.inside == 0 {
            self.found.push(Git::Unseen(dir.to_path_buf()));
        }
        names
    }

    /// `path`, from the project's root or absolute, without `..` and from the root, if it is below it.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let path = path.strip_prefix(self.root).unwrap_or(path);
        let mut clean = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::CurDir => {}
                Component::ParentDir if clean.pop() => {}
                _ => return None,
            }
        }
        (clean.components().next().is_some()).then_some(clean)
    }
}

fn is_skipped(name: &Path) -> bool {
    SKIPPED.iter().any(|skipped| name.as_os_str() == *skipped)
}

/// The names of the directories in `dir`, as long as entries are left to be read.
fn directories(dir: &Path, left: &mut usize) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        *left = left.saturating_sub(1);
        if *left == 0 {
            break;
        }
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            names.push(entry.file_name().into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_worktrees_and_submodules_are_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path();
        for path in
            [".git/worktrees/w", ".git/modules/a/b/modules/c", "nested/deep/.git", "node_modules/x/.git", "b", "s"]
        {
            fs::create_dir_all(root.join(path)).expect("mkdir");
        }
        for path in [".git/modules/a/b/HEAD", ".git/modules/a/b/modules/c/HEAD"] {
            fs::write(root.join(path), "").expect("write");
        }
        fs::write(root.join("b/.git"), "gitdir: ../.git/modules/a/b\n").expect("write");
        fs::write(root.join("s/.git"), "gitdir: /elsewhere\n").expect("write");
        let git = |path: &str| Git::Directory(path.into());
        let mut want = vec![
            git(".git"),
            git(".git/modules/a/b"),
            git(".git/modules/a/b/modules/c"),
            git("nested/deep/.git"),
            Git::Worktree(".git/worktrees/w".into()),
            Git::Pointer("b/.git".into()),
            Git::Pointer("s/.git".into()),
        ];
        want.extend(["HEAD", "b/HEAD", "nested/deep/HEAD", "s/HEAD"].map(|head| Git::Beside(head.into(), true)));
        want.sort();
        assert_eq!(find(root), Ok(want));
    }

    #[test]
    fn what_a_guest_fills_up_is_protected_as_a_whole_and_hides_nothing_else() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path();
        for path in [".git/worktrees", ".git/modules/sub", "nested/.git/modules/m", "a/b"] {
            fs::create_dir_all(root.join(path)).expect("mkdir");
        }
        fs::write(root.join(".git/modules/sub/HEAD"), "").expect("write");
        for n in 0..=INSIDE {
            fs::write(root.join(format!(".git/worktrees/{n}")), "").expect("write");
        }
        let found = find(root).expect("the tree is small");
        for path in [".git/worktrees", ".git/modules", "nested/.git/worktrees", "nested/.git/modules"] {
            assert!(found.contains(&Git::Unseen(path.into())), "{path} in {found:?}");
        }
        for path in [".git", "nested/.git"] {
            assert!(found.contains(&Git::Directory(path.into())), "{path} in {found:?}");
        }
    }

    #[test]
    fn a_tree_of_which_not_all_is_seen_says_so() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("x/.git")).expect("mkdir");
        let mut search = Search { tree: 3, ..Search::new(dir.path()) };
        search.tree();
        assert!(search.tree > 0, "one directory is not too many");
        fs::write(dir.path().join("y"), "").expect("write");
        let mut search = Search { tree: 3, ..Search::new(dir.path()) };
        search.tree();
        assert_eq!(search.tree, 0);
    }

    #[test]
    fn modules_that_lie_too_deep_are_protected_as_a_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        let deep = ".git/modules/1/2/3/4/5/6/7";
        fs::create_dir_all(dir.path().join(deep).join("8")).expect("mkdir");
        fs::write(dir.path().join(deep).join("8/HEAD"), "").expect("write");
        assert!(find(dir.path()).expect("small").contains(&Git::Unseen(deep.into())));
    }

    #[test]
    fn what_is_no_pointer_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().expect("tempdir");
        let git = |name: &str| {
            fs::create_dir(dir.path().join(name)).expect("mkdir");
            dir.path().join(name).join(".git")
        };
        nix::unistd::mkfifo(&git("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        std::os::unix::fs::symlink("/dev/zero", git("endless")).expect("ln");
        fs::File::create(git("huge")).and_then(|file| file.set_len(1 << 40)).expect("sparse");
        let dirs = ["endless", "huge", "pipe"].map(Path::new);
        let names = [dirs.map(|dir| Git::Pointer(dir.join(".git"))), dirs.map(|dir| Git::Beside(dir.join(HEAD), true))]
            .concat();
        let found = std::thread::spawn(move || find(dir.path()));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !found.is_finished() {
            assert!(std::time::Instant::now() < end, "it waits for a pipe, or reads without an end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(found.join().expect("no panic"), Ok(names));
    }

    #[test]
    fn a_link_is_protected_and_what_it_leads_to_inside() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("store/git")).expect("mkdir");
        std::os::unix::fs::symlink("store/git", dir.path().join(".git")).expect("ln");
        let beside = Git::Beside(HEAD.into(), true);
        let mut want = vec![Git::Pointer(".git".into()), Git::Directory("store/git".into()), beside];
        want.sort();
        assert_eq!(find(dir.path()), Ok(want));
    }
}
