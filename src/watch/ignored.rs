//! Which directories are not worth watching: those that Git ignores, what package managers fill, and what the user says.

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Large, changed all the time, and watched by nobody.
const ALWAYS: [&str; 2] = [".git/objects/", "node_modules/"];

/// No more of a `.gitignore` is read than this: guests write them.
const MOST_OF_ONE: u64 = 64 << 10;
/// For how many bytes rules are kept, about. With more they are read again.
const MOST: usize = 64 << 20;
/// What a directory takes beside its path, and a byte of rules: short lines become much.
const EACH: usize = 256;

/// See the module.
pub(super) struct Ignored {
    /// The user's lines, as in a `.gitignore`: with `!` what is ignored otherwise is watched.
    lines: Vec<String>,
    /// The rules of directories that have some.
    files: HashMap<PathBuf, Option<Gitignore>>,
    /// How many bytes those take.
    kept: usize,
    ours: HashMap<PathBuf, Gitignore>,
}

impl Ignored {
    pub(super) fn new(lines: &[String]) -> Ignored {
        Ignored { lines: lines.to_vec(), files: HashMap::new(), kept: 0, ours: HashMap::new() }
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
            match self.rules(&dir).map_or(Match::None, |rules| rules.matched(root.join(path), true)) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    /// The rules of one directory.
    fn rules(&mut self, dir: &Path) -> Option<&Gitignore> {
        if !self.files.contains_key(dir) {
            let text = read(dir).unwrap_or_default();
            let size = EACH * (1 + text.len()) + dir.as_os_str().len();
            if self.kept + size > MOST {
                (self.files, self.kept) = (HashMap::new(), 0);
            }
            self.kept += size;
            self.files.insert(dir.to_owned(), (!text.is_empty()).then(|| parse(dir, &text)));
        }
        self.files.get(dir)?.as_ref()
    }
}

/// The `.gitignore` of a directory, without a line that is read in part. Git does not follow a link there either.
fn read(dir: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(flags).open(dir.join(".gitignore"))?;
    let mut text = Vec::new();
    if file.metadata()?.is_file() {
        file.take(MOST_OF_ONE).read_to_end(&mut text)?;
    }
    if text.len() as u64 == MOST_OF_ONE {
        text.truncate(text.iter().rposition(|b| *b == b'\n').unwrap_or(0));
    }
    Ok(text)
}

fn parse(dir: &Path, text: &[u8]) -> Gitignore {
    let mut builder = GitignoreBuilder::new(dir);
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    for line in text.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let _ = builder.add_line(None, line.strip_suffix('\r').unwrap_or(line));
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
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

    #[test]
    fn a_guest_that_makes_directories_and_rules_for_ever_is_not_kept_whole() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join(".gitignore"), "dist/\n").expect("write");
        let mut ignored = Ignored::new(&[]);
        // Gone by now, each with a path as long as can be, as the last of many.
        let deep = ["x"; 10].map(|x| x.repeat(255)).join("/");
        ignored.kept = MOST - (1 << 20);
        for n in 0..500 {
            assert!(!ignored.is(dir.path(), Path::new(&format!("{n}/{deep}"))));
            assert!(ignored.kept <= MOST);
        }
        let size: usize = ignored.files.keys().map(|path| path.as_os_str().len() + EACH).sum();
        assert!(ignored.kept < MOST / 2 && size <= ignored.kept, "{} {size}", ignored.kept);
        assert!(ignored.is(dir.path(), Path::new("dist")));
        // And rules without an end.
        let before = "first\n\u{feff}\r\n\n".to_owned() + &"a\n".repeat(1 << 20);
        for n in 0..8 {
            let sub = dir.path().join(format!("r{n}"));
            std::fs::create_dir(&sub).expect("mkdir");
            std::fs::write(sub.join(".gitignore"), &before).expect("write");
            assert!(ignored.is(dir.path(), Path::new(&format!("r{n}/first"))));
            let rules: usize = ignored.files.values().flatten().map(Gitignore::len).sum();
            assert!(ignored.kept <= MOST && rules <= MOST / EACH, "{} {rules}", ignored.kept);
        }
    }

    #[test]
    fn rules_are_read_as_git_reads_them() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("elsewhere"), "linked\n").expect("write");
        std::fs::create_dir(dir.path().join("d")).expect("mkdir");
        std::os::unix::fs::symlink("../elsewhere", dir.path().join("d/.gitignore")).expect("ln");
        std::fs::write(dir.path().join(".gitignore"), b"\xef\xbb\xbffirst\r\n\xff\nlast").expect("write");
        let mut ignored = Ignored::new(&[]);
        let all = ["first", "last", "d/linked", "d/first"];
        let is: Vec<_> = all.into_iter().filter(|path| ignored.is(dir.path(), Path::new(path))).collect();
        assert_eq!(is, ["first", "last", "d/first"]);
    }
}
