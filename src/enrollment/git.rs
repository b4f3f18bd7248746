//! What of Git's a project holds: where its configuration and its hooks are. Nothing is executed, no link is followed
//! out of the project, and the walk is bounded.

use crate::plan::protect::Git;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// How deep repositories inside of the project are looked for, and how many directory entries that may cost.
const DEPTH: usize = 3;
const ENTRIES: usize = 20_000;
/// How deep submodules are looked for: theirs lie inside each other, and their names may have slashes.
const MODULES: usize = 6;
/// Large trees that are made by tools.
const SKIPPED: [&str; 3] = [".git", "node_modules", "target"];

/// Everything of Git's in the project at `root`.
pub fn find(root: &Path) -> Vec<Git> {
    let mut search = Search { root, left: ENTRIES, found: Vec::new() };
    search.tree(Path::new(""), DEPTH);
    search.found.sort();
    search.found.dedup();
    search.found
}

/// Everything of Git's in a git directory that lies by itself, from there.
pub fn find_in(dir: &Path) -> Vec<Git> {
    let mut search = Search { root: dir, left: ENTRIES, found: Vec::new() };
    search.directory(Path::new(""));
    search.found
}

struct Search<'a> {
    root: &'a Path,
    left: usize,
    found: Vec<Git>,
}

impl Search<'_> {
    /// A directory of the working tree, and those below it.
    fn tree(&mut self, dir: &Path, depth: usize) {
        self.repository(&dir.join(".git"));
        if depth == 0 {
            return;
        }
        for name in self.directories(dir) {
            if !SKIPPED.iter().any(|skipped| name.as_os_str() == *skipped) {
                self.tree(&dir.join(name), depth - 1);
            }
        }
    }

    /// What may be a repository: a directory, or a file or a link that leads to one.
    fn repository(&mut self, path: &Path) {
        let Ok(meta) = fs::symlink_metadata(self.root.join(path)) else { return };
        if meta.is_dir() {
            return self.directory(path);
        }
        self.found.push(Git::Pointer(path.to_path_buf()));
        let text = || fs::read_to_string(self.root.join(path)).ok().filter(|_| meta.is_file() && meta.len() < 1 << 16);
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
        for name in self.directories(&worktrees) {
            self.found.push(Git::Worktree(worktrees.join(name)));
        }
        self.modules(&path.join("modules"), MODULES);
    }

    fn modules(&mut self, dir: &Path, depth: usize) {
        for name in self.directories(dir) {
            let path = dir.join(name);
            if fs::symlink_metadata(self.root.join(&path).join("HEAD")).is_ok() {
                self.directory(&path);
            } else if depth > 0 {
                self.modules(&path, depth - 1);
            }
        }
    }

    /// The names of the directories in `dir`, as far as the budget goes.
    fn directories(&mut self, dir: &Path) -> Vec<PathBuf> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(dir)).into_iter().flatten().flatten() {
            let Some(left) = self.left.checked_sub(1) else { break };
            self.left = left;
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                names.push(entry.file_name().into());
            }
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
        want.sort();
        assert_eq!(find(root), want);
    }

    #[test]
    fn a_link_is_protected_and_what_it_leads_to_inside() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir_all(dir.path().join("store/git")).expect("mkdir");
        std::os::unix::fs::symlink("store/git", dir.path().join(".git")).expect("ln");
        let mut want = vec![Git::Pointer(".git".into()), Git::Directory("store/git".into())];
        want.sort();
        assert_eq!(find(dir.path()), want);
    }
}
