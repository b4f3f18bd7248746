//! Which paths of the project the guest may read and never change: files by which a later command on the host would run
//! what the guest wrote. The share server enforces the list, names that are not there yet and the way to them included.

use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// A path that the guest may not change, make, move or remove; what is below it neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// The mount that it lies in, by its tag.
    pub tag: String,
    /// From the mount's root; not empty, and plain names only.
    pub path: PathBuf,
    /// Whether only this very spelling of its name is meant, because others are other files there. Usually all are: that makes
    /// a few more names the guest's to read only, where nobody misses them.
    pub exact: bool,
}

/// How much is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Only what the user lists.
    None,
    /// What is executed without being seen: `.vmclaude.toml`, and in repositories configuration, hooks and attributes.
    #[default]
    Standard,
    /// Also the files by which editors and tools are told to execute something, and a repository where there is none.
    Strict,
}

/// The user's wish.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protect {
    /// How much.
    pub level: Level,
    /// More paths, from the project's root.
    pub paths: Vec<PathBuf>,
}

/// Something of Git's in the project, from its root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Git {
    /// A directory with a repository's configuration and hooks: `.git`, or one of a submodule's.
    Directory(PathBuf),
    /// A directory of a linked worktree.
    Worktree(PathBuf),
    /// A file or a link that leads to one of those.
    Pointer(PathBuf),
    /// A directory of those with more in it than was looked at.
    Unseen(PathBuf),
    /// What a configuration names as hooks, or as more configuration.
    Named(PathBuf),
    /// A name beside a `.git`, which may not be there: `HEAD`. Whether other spellings of it are other files.
    Beside(PathBuf, bool),
}

/// What a repository executes or is led by. The locks are there because Git renames them to what they lock: who could
/// open one in time would have the file itself.
const OF_DIRECTORY: [&str; 7] =
    ["config", "config.lock", "config.worktree", "config.worktree.lock", "commondir", "hooks", "info"];
const OF_WORKTREE: [&str; 4] = ["commondir", "gitdir", "config.worktree", "config.worktree.lock"];
/// What a bare repository has. Where `.git` is none any more, which a guest can bring about, Git asks whether the directory
/// around it is one, and obeys its `config`.
pub const HEAD: &str = "HEAD";
/// Where a working tree keeps its repository.
const REPOSITORY: &str = ".git";

/// The project's settings for us.
const OURS: &str = ".vmclaude.toml";

/// What editors and tools execute, or take commands from, without being told to run anything.
const STRICT: [&str; 38] = [
    ".claude",
    ".mcp.json",
    ".cursor",
    ".codex",
    ".gemini",
    ".vscode",
    ".idea",
    ".devcontainer",
    ".devcontainer.json",
    ".envrc",
    ".direnv",
    ".mise",
    ".mise.toml",
    "mise.toml",
    "mise-tasks",
    ".tool-versions",
    ".husky",
    "lefthook.yml",
    ".lefthook.yml",
    ".pre-commit-config.yaml",
    ".gitattributes",
    ".gitmodules",
    ".lfsconfig",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pnpmfile.cjs",
    ".cargo",
    "rust-toolchain",
    "rust-toolchain.toml",
    ".vimrc",
    ".exrc",
    ".nvim.lua",
    ".dir-locals.el",
    ".gdbinit",
    ".lldbinit",
    ".ripgreprc",
    ".editorconfig",
];

/// The list for a project in which `git` was found, in the mount `tag`.
pub fn of(protect: &Protect, git: &[Git], tag: &str) -> Vec<Protected> {
    let whole = |path: PathBuf| (path, false);
    let mut paths: Vec<(PathBuf, bool)> = protect.paths.iter().cloned().map(whole).collect();
    if protect.level >= Level::Standard {
        paths.push(whole(OURS.into()));
        paths.extend(git.iter().flat_map(of_git));
    }
    if protect.level >= Level::Strict {
        paths.extend(STRICT.map(|path| whole(path.into())));
        if !git.iter().any(|g| g.path() == Path::new(REPOSITORY)) {
            paths.extend([REPOSITORY, HEAD].map(|path| whole(path.into())));
        }
    }
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|(path, exact)| Protected { tag: tag.to_owned(), path, exact }).collect()
}

/// The list for a git directory that is a mount of its own.
pub fn of_git_directory(protect: &Protect, git: &[Git], tag: &str) -> Vec<Protected> {
    let git = if protect.level >= Level::Standard { git } else { &[] };
    git.iter().flat_map(of_git).map(|(path, exact)| Protected { tag: tag.to_owned(), path, exact }).collect()
}

fn of_git(git: &Git) -> Vec<(PathBuf, bool)> {
    match git {
        Git::Directory(dir) => OF_DIRECTORY.map(|name| (dir.join(name), false)).to_vec(),
        Git::Worktree(dir) => OF_WORKTREE.map(|name| (dir.join(name), false)).to_vec(),
        Git::Pointer(path) | Git::Unseen(path) | Git::Named(path) => vec![(path.clone(), false)],
        Git::Beside(path, exact) => vec![(path.clone(), *exact)],
    }
}

impl Git {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Git::Directory(path) | Git::Worktree(path) | Git::Pointer(path) => path,
            Git::Unseen(path) | Git::Named(path) | Git::Beside(path, _) => path,
        }
    }
}

/// A path that somebody wrote down, without slashes at its end; `None` when it is not one below the project's root.
pub fn below(path: &str) -> Option<PathBuf> {
    let path: PathBuf = Path::new(path).components().filter(|c| *c != Component::CurDir).collect();
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    (plain && path.components().next().is_some()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(level: Level, git: &[Git]) -> Vec<String> {
        let protect = Protect { level, paths: vec!["deploy/keys".into()] };
        of(&protect, git, "workspace").into_iter().map(|p| p.path.display().to_string()).collect()
    }

    #[test]
    fn what_git_executes_is_protected_wherever_git_keeps_it() {
        let git = [
            Git::Directory(".git".into()),
            Git::Worktree(".git/worktrees/w".into()),
            Git::Directory(".git/modules/m".into()),
            Git::Pointer("m/.git".into()),
            Git::Unseen(".git/modules".into()),
            Git::Named("tools/hooks".into()),
            Git::Beside("m/HEAD".into(), true),
        ];
        let all = paths(Level::Standard, &git);
        for path in [
            ".vmclaude.toml",
            ".git/config",
            ".git/config.lock",
            ".git/hooks",
            ".git/info",
            ".git/commondir",
            ".git/config.worktree",
            ".git/worktrees/w/commondir",
            ".git/modules/m/hooks",
            "m/.git",
            "m/HEAD",
            ".git/modules",
            "tools/hooks",
            "deploy/keys",
        ] {
            assert!(all.iter().any(|p| p == path), "{path} in {all:?}");
        }
        assert!(!all.iter().any(|p| p == ".git"), "a commit has to write there");
    }

    #[test]
    fn levels_differ_by_what_they_add() {
        assert_eq!(paths(Level::None, &[Git::Directory(".git".into())]), ["deploy/keys"]);
        assert_eq!(paths(Level::Standard, &[]), [".vmclaude.toml", "deploy/keys"]);
        let strict = paths(Level::Strict, &[]);
        assert!([".git", "HEAD", ".vscode", ".envrc", ".vmclaude.toml"].iter().all(|p| strict.iter().any(|s| s == p)));
        assert!(!paths(Level::Strict, &[Git::Directory(".git".into())]).iter().any(|p| p == ".git"));
    }

    #[test]
    fn paths_are_below_the_project() {
        assert_eq!(below("./a/b/"), Some("a/b".into()));
        for bad in ["", ".", "/etc", "..", "a/../..", "a/../b"] {
            assert_eq!(below(bad), None, "{bad}");
        }
    }
}
