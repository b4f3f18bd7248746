//! The home as it was before projects had their own: `~/.vm-claude` itself. It becomes the home that `home = "shared"`
//! means, and its login the login. Nothing is copied, nothing is lost.

use crate::error::{Context, Result};
use crate::files::{LOCK_LIMIT, at, lock_within, private_dir};
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// What lies in `~/.vm-claude` now.
const OURS: [&str; 5] = ["home", "login", "projects", "shared", ".lock"];
const CREDENTIALS: &str = ".credentials.json";

/// Moves the old home, if `root` is one; where it is now.
///
/// # Errors
/// When something cannot be moved; what was moved then is in its new place, and the next run goes on.
pub(super) fn moved(root: &Path) -> Result<Option<PathBuf>> {
    if root.join("projects").exists() || entries(root)?.is_empty() {
        return Ok(None);
    }
    let _one_at_a_time = lock_within(&root.join(".lock"), LOCK_LIMIT)?;
    let home = root.join("home");
    private_dir(&home)?;
    private_dir(&root.join("login/claude"))?;
    for name in entries(root)? {
        let (from, to) = (root.join(&name), home.join(&name));
        std::fs::rename(&from, &to).what(|| format!("cannot move {} to {}", from.display(), to.display()))?;
    }
    move_login(&home, &root.join("login/claude")).what(|| "cannot move the login of ~/.vm-claude")?;
    Ok(Some(home))
}

fn entries(root: &Path) -> Result<Vec<std::ffi::OsString>> {
    let list = std::fs::read_dir(root);
    let list = list.map_err(|e| at(&e, format!("cannot list {}", root.display()), root))?;
    let names = list.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| !OURS.iter().any(|ours| name == OsStr::new(ours))).collect())
}

/// Guests wrote this home, so no link in it is followed: it could lead to the host's own login.
fn move_login(home: &Path, login: &Path) -> nix::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let home = open(home, flags, Mode::empty())?;
    let Ok(claude) = openat(&home, ".claude", flags, Mode::empty()) else { return Ok(()) };
    let found = fstatat(&claude, CREDENTIALS, AtFlags::AT_SYMLINK_NOFOLLOW);
    if !found.is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG) {
        return Ok(());
    }
    renameat(&claude, CREDENTIALS, &open(login, flags, Mode::empty())?, CREDENTIALS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }

    #[test]
    fn the_old_home_is_moved_once_with_all_that_is_in_it() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let root = dir.path();
        assert_eq!(moved(root)?, None, "a new one");
        write(root.join(".claude/.credentials.json"), "login");
        write(root.join(".claude/projects/-workspace/x.jsonl"), "talk");
        write(root.join(".bashrc"), "rc");
        write(root.join("shared/CLAUDE.md"), "mine");
        assert_eq!(moved(root)?, Some(root.join("home")));
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        assert_eq!(read("home/.bashrc") + &read("home/.claude/projects/-workspace/x.jsonl"), "rctalk");
        assert_eq!(read("login/claude/.credentials.json") + &read("shared/CLAUDE.md"), "loginmine");
        assert!(!root.join("home/.claude/.credentials.json").exists());
        assert_eq!(moved(root)?, None, "only once");
        Ok(())
    }

    #[test]
    fn a_planted_link_does_not_bring_the_hosts_login() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let (root, real) = (dir.path().join("vm"), dir.path().join("real/.claude"));
        write(real.join(CREDENTIALS), "the host's");
        for planted in ["a directory", "a file"] {
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(&root).what(|| "mkdir")?;
            if planted == "a directory" {
                symlink(&real, root.join(".claude")).what(|| "ln")?;
            } else {
                fs::create_dir(root.join(".claude")).what(|| "mkdir")?;
                symlink(real.join(CREDENTIALS), root.join(".claude").join(CREDENTIALS)).what(|| "ln")?;
            }
            moved(&root)?;
            assert!(
                root.join("login/claude").is_dir() && !root.join("login/claude").join(CREDENTIALS).exists(),
                "{planted}"
            );
            assert_eq!(fs::read_to_string(real.join(CREDENTIALS)).what(|| "read")?, "the host's", "{planted}");
        }
        Ok(())
    }
}
