//! What a configuration of git's names inside of the project: a directory with hooks, and files with more configuration.
//! They are as good as `.git/hooks` and `.git/config`, wherever they lie.

use super::outside::normal;
use super::{LIMIT, git, value_in};
use crate::enrollment;
use crate::host::Host;
use crate::plan::protect::Git;
use crate::session::ask;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many files of configuration are asked, one by one: a guest can make as many repositories as it likes.
const MOST: usize = 32;
/// The files of a git directory that hold configuration.
const FILES: [&str; 2] = ["config", "config.worktree"];

/// Everything of Git's in the project at `root` (canonical), what is named included; `Err`: the same, but there is more than
/// was looked at.
pub fn held(host: &Host, root: &Path) -> Result<Vec<Git>, Vec<Git>> {
    std::thread::scope(|scope| {
        // The host's git takes a while to start, and has a processor of its own to do so.
        let discovered = scope.spawn(|| Names::discovered(host, root));
        let found = enrollment::git::find(root);
        let is_all = found.is_ok();
        let mut git = found.unwrap_or_else(|some| some);
        let mut names = Names::new(host);
        for directory in git.iter().filter(|git| matches!(git, Git::Directory(_))) {
            names.repository(&root.join(directory.path()));
        }
        match discovered.join() {
            Ok(more) => names.add(more),
            Err(_) => names.failed = true,
        }
        git.extend(names.below(root));
        if is_all && !names.failed { Ok(git) } else { Err(git) }
    })
}

/// What the configuration of a git directory outside of the project names there, and in the project at `root`.
pub(super) fn outside(host: &Host, dir: &Path, root: &Path) -> (Vec<Git>, Vec<Git>) {
    let mut names = Names::new(host);
    FILES.iter().for_each(|file| names.file(&dir.join(file), root));
    (names.below(dir), names.below(root))
}

/// Paths that were named, and whether all were asked for them.
struct Names<'a> {
    host: &'a Host,
    paths: Vec<PathBuf>,
    left: usize,
    failed: bool,
}

impl<'a> Names<'a> {
    fn new(host: &'a Host) -> Names<'a> {
        Names { host, paths: Vec::new(), left: MOST, failed: false }
    }

    /// What git obeys in the project, the user's own configuration with its conditions included.
    fn discovered(host: &'a Host, root: &Path) -> Names<'a> {
        let mut names = Names::new(host);
        if let Some(mut command) = git(host) {
            command.arg("config");
            names.ask(command, root, root);
        }
        names
    }

    /// What a repository's own configuration says, also when a guest has seen to it that git takes it for none just now.
    fn repository(&mut self, dir: &Path) {
        let tree = match dir.ends_with(".git") {
            true => dir.parent().map(Path::to_path_buf),
            false => value_in(self.host, &dir.join("config"), "core.worktree").map(|tree| normal(&dir.join(tree))),
        };
        let tree = tree.unwrap_or_else(|| dir.to_path_buf());
        FILES.iter().for_each(|file| self.file(&dir.join(file), &tree));
    }

    /// One file and what it includes. Hooks are looked for from `tree`.
    fn file(&mut self, file: &Path, tree: &Path) {
        let Some(mut command) = git(self.host).filter(|_| file.is_file()) else { return };
        let Some(left) = self.left.checked_sub(1) else {
            self.failed = true;
            return;
        };
        self.left = left;
        command.args(["config", "--file"]).arg(file);
        for conditional in self.ask(command, Path::new("/"), tree) {
            self.file(&conditional, tree);
        }
    }

    /// Asks; answers which files are included on a condition, which may be met tomorrow.
    fn ask(&mut self, mut command: Command, at: &Path, tree: &Path) -> Vec<PathBuf> {
        command.current_dir(at).args(["--includes", "--null", "--show-origin", "--get-regexp"]);
        command.arg(r"^(core\.hookspath|include\.path|includeif\..*\.path)$");
        // 1 is git's word for that there is none.
        let said = match ask::answer(command, LIMIT) {
            Some((Some(0), said)) => said,
            Some((Some(1), _)) => return Vec::new(),
            _ => {
                self.failed = true;
                return Vec::new();
            }
        };
        let mut conditional = Vec::new();
        for (key, path) in parse(&said, at, tree, &self.host.home) {
            if key.starts_with(b"includeif.") {
                conditional.push(path.clone());
            }
            self.paths.push(path);
        }
        conditional
    }

    fn add(&mut self, more: Names<'_>) {
        self.paths.extend(more.paths);
        self.failed |= more.failed;
    }

    /// Those below `base`. A link on the way counts as itself and as what it leads to.
    fn below(&self, base: &Path) -> Vec<Git> {
        let both = self.paths.iter().flat_map(|path| path.canonicalize().ok().into_iter().chain([path.clone()]));
        let mut found: Vec<Git> = both
            .filter_map(|path| path.strip_prefix(base).ok().map(Path::to_path_buf))
            .filter(|path| path.components().next().is_some())
            .map(Git::Named)
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

/// `origin\0key\nvalue\0` for each; keys and absolute paths.
fn parse<'a>(said: &'a [u8], at: &Path, tree: &Path, home: &Path) -> Vec<(&'a [u8], PathBuf)> {
    let mut fields = said.split(|b| *b == 0);
    let mut paths = Vec::new();
    while let (Some(origin), Some(entry)) = (fields.next(), fields.next()) {
        let Some(end) = entry.iter().position(|b| *b == b'\n') else { continue };
        let (key, value) = (&entry[..end], Path::new(OsStr::from_bytes(&entry[end + 1..])));
        let file = at.join(OsStr::from_bytes(origin.strip_prefix(b"file:").unwrap_or_default()));
        // Hooks are looked for from where git runs them; more configuration beside the file that names it.
        let from = if key == b"core.hookspath" { tree } else { file.parent().unwrap_or(at) };
        let path = match value.strip_prefix("~") {
            Ok(rest) => home.join(rest),
            Err(_) if value.as_os_str().is_empty() => continue,
            Err(_) => from.join(value),
        };
        paths.push((key, normal(&path)));
    }
    paths
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
