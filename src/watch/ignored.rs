//! Which directories are not worth watching: those that Git ignores, what package managers fill, and what the user says.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Large, changed all the time, and watched by nobody.
const ALWAYS: [&str; 2] = [".git/objects/", "node_modules/"];

/// See the module.
pub(super) struct Ignored {
    /// The user's lines, as in a `.gitignore`: with `!` what is ignored otherwise is watched.
    lines: Vec<String>,
    /// The rules of directories that have some.
    files: HashMap<PathBuf, Option<Gitignore>>,
    ours: HashMap<PathBuf, Gitignore>,
}

impl Ignored {
    pub(super) fn new(lines: &[String]) -> Ignored {
        Ignored { lines: lines.to_vec(), files: HashMap::new(), ours: HashMap::new() }
    }

    /// Whether the directory at `path` in `root` lies in an ignored one, or is one.
    pub(super) fn is(&mut self, root: &Path, path: &Path) -> bool {
        let mut at = PathBuf::new();
        path.iter().any(|name| {
            at.push(name);
            self.one(root, &at)
        })
    }

    /// Whether this very directory is ignored, those above it not being so.
    fn one(&mut self, root: &Path, path: &Path) -> bool {
        let ours = self.ours.entry(root.to_path_buf()).or_insert_with(|| {
            let mut builder = GitignoreBuilder::new(root);
            for line in ALWAYS.iter().copied().chain(self.lines.iter().map(String::as_str)) {
                let _ = builder.add_line(None, line);
            }
            builder.build().unwrap_or_else(|_| Gitignore::empty())
        });
        match ours.matched(root.join(path), true) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        // The rules nearest to it count.
        for above in path.ancestors().skip(1) {
            let dir = root.join(above);
            let rules = self.files.entry(dir.clone()).or_insert_with(|| {
                let file = dir.join(".gitignore");
                file.is_file().then(|| Gitignore::new(file).0)
            });
            match rules.as_ref().map_or(Match::None, |rules| rules.matched(root.join(path), true)) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(lines: &[&str]) -> Vec<&'static str> {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
        std::fs::write(dir.path().join(".gitignore"), "dist/\n*.tmp\n").expect("write");
        std::fs::write(dir.path().join("a/.gitignore"), "!dist/\nlocal\n").expect("write");
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let mut ignored = Ignored::new(&lines);
        let all = [
            "src",
            ".git",
            ".git/objects",
            ".git/objects/ab",
            ".git/refs",
            "dist",
            "dist/sub",
            "a/dist",
            "a/b/local",
            "local",
            "x.tmp",
            "node_modules",
            "node_modules/x",
            "a/node_modules/x/y",
        ];
        all.into_iter().filter(|path| ignored.is(dir.path(), Path::new(path))).collect()
    }

    #[test]
    fn what_git_and_the_user_ignore_is_not_watched() {
        let usual = [
            ".git/objects",
            ".git/objects/ab",
            "dist",
            "dist/sub",
            "a/b/local",
            "x.tmp",
            "node_modules",
            "node_modules/x",
            "a/node_modules/x/y",
        ];
        assert_eq!(ignored(&[]), usual);
        assert_eq!(ignored(&["src", "!node_modules", "!dist"])[..3], ["src", ".git/objects", ".git/objects/ab"]);
        assert!(
            !ignored(&["!node_modules/", "!dist/"]).iter().any(|p| p.contains("node_modules") || p.contains("dist"))
        );
    }
}
