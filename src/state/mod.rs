//! What projects keep on this host (`plan::state` says where): made before a run, moved from where it was before, and
//! filled from the host's own Claude Code when somebody says so.

pub mod import;
mod old;

use crate::error::{Context, Result};
use crate::files::{private_dir, write_atomic};
use crate::host::Host;
use crate::plan::Place;
use crate::plan::state::{Home, State, tail};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use vmclaude_shim::Identity;

/// The name in a project's directory under which its path is noted, for people.
const PATH: &str = "path";

/// The name under which the state of a project is kept: made of what the directory is, so that it is found again after a
/// move.
///
/// # Errors
/// When the directory cannot be looked at.
pub fn key(root: &Path, opened: &File) -> Result<String> {
    let identity = Identity::of_open(opened).what(|| format!("cannot look at {}", root.display()))?;
    Ok(name(root, &identity))
}

/// As `Identity::same_as`: with a birth time the file system's number need not agree, because some change it over reboots.
/// Without one, an inode may have been another directory's, whose state is not for this one: the path counts too.
fn name(root: &Path, identity: &Identity) -> String {
    let mut digest = Sha256::new();
    if identity.birth == 0 {
        digest.update(identity.fs.to_le_bytes());
        digest.update(root.as_os_str().as_bytes());
    }
    digest.update(identity.ino.to_le_bytes());
    digest.update(identity.birth.to_le_bytes());
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is kept for the project in the directory `root`, enrolled or to be enrolled.
///
/// # Errors
/// When the directory cannot be opened.
pub fn of(host: &Host, root: &Path, home: Home) -> Result<State> {
    let opened = File::open(root).what(|| format!("cannot open {}", root.display()))?;
    Ok(State::of(&host.dirs.guest_home, &key(root, &opened)?, home))
}

/// Makes what is missing of the project's directories. `Some`: a home of all projects from before was moved there.
///
/// # Errors
/// When a directory cannot be made or is not ours alone.
pub fn prepare(host: &Host, place: &Place) -> Result<Option<PathBuf>> {
    let root = &host.dirs.guest_home;
    private_dir(root)?;
    let moved = old::moved(root)?;
    let state = &place.state;
    private_dir(&state.project)?;
    for dir in [&state.home, &state.config, &state.login] {
        guests_dir(dir)?;
    }
    private_dir(&state.shared)?;
    let note = state.project.join(PATH);
    let mut text = place.root.as_os_str().as_bytes().to_vec();
    text.push(b'\n');
    if std::fs::read(&note).ok().as_deref() != Some(&text) {
        write_atomic(&note, &text, 0o600)?;
    }
    Ok(moved)
}

/// Makes a directory that guests may change, its mode included: what one of them made of that must not keep the others, who
/// have the login in common, from running. Nobody but us can put another in its place, because no guest sees what is above.
fn guests_dir(dir: &Path) -> Result<()> {
    let known = std::fs::symlink_metadata(dir).ok();
    let ours = known.filter(|meta| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw());
    if ours.is_some_and(|meta| meta.mode() & 0o022 != 0 || meta.mode() & 0o700 != 0o700) {
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(dir, mode).what(|| format!("cannot change the mode of {}", dir.display()))?;
    }
    private_dir(dir)
}

/// The key that Claude Code need not ask about. Nobody exports one and wants to be asked whether it is meant, with a "no" as
/// the first answer; but where there is a login, or where the host's Claude Code was told "no", the question is a real one.
/// What the project's own Claude Code was told, the guest sees: that file is its own.
pub fn approved_key(host: &Host, place: &Place) -> Option<String> {
    let exists = |path: PathBuf| std::fs::symlink_metadata(path).is_ok();
    let key = host.var("ANTHROPIC_API_KEY").filter(|key| !key.trim().is_empty())?;
    if exists(place.state.login.join("claude/.credentials.json")) || was_refused(host, key) {
        return None;
    }
    Some(key.to_owned())
}

/// Whether the host's own Claude Code was told not to use this key.
fn was_refused(host: &Host, key: &str) -> bool {
    let dir = host.var("CLAUDE_CONFIG_DIR").map_or_else(|| host.home.clone(), PathBuf::from);
    let text = std::fs::read(dir.join(".claude.json")).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let refused = json.pointer("/customApiKeyResponses/rejected").and_then(serde_json::Value::as_array);
    refused.into_iter().flatten().any(|known| known.as_str().is_some() && known.as_str() == tail(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::host;

    #[test]
    fn the_key_is_the_directory_and_not_its_path_where_directories_can_be_told_apart() {
        let id = |fs, ino, birth| Identity { fs, ino, birth };
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert_eq!(name(a, &id(1, 2, 3)), name(b, &id(9, 2, 3)), "moved, and the file system has another number");
        assert_ne!(name(a, &id(1, 2, 3)), name(a, &id(1, 2, 4)), "made anew");
        assert_ne!(name(a, &id(1, 2, 0)), name(b, &id(1, 2, 0)), "no birth time: nobody can say");
        assert_ne!(name(a, &id(1, 2, 0)), name(a, &id(3, 2, 0)));
        assert_eq!(name(a, &id(1, 2, 3)).len(), 16);
    }

    #[test]
    fn what_a_guest_makes_of_a_mode_stops_nobody_and_a_link_does() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let mut host = host();
        host.dirs.guest_home = dir.path().join("g");
        let state = State::of(&host.dirs.guest_home, "k", Home::Project);
        let place = Place { root: "/p".into(), rest: "".into(), identity: None, state, git: Vec::new() };
        let mode = |dir: &Path| std::fs::metadata(dir).map_or(0, |meta| meta.mode() & 0o7777);
        let set = |dir: &Path, mode| std::fs::set_permissions(dir, PermissionsExt::from_mode(mode)).what(|| "chmod");
        prepare(&host, &place)?;
        let state = &place.state;
        for dir in [&state.home, &state.config, &state.login] {
            for (bad, after) in
                [(0o777, 0o700), (0o720, 0o700), (0o2702, 0o700), (0, 0o700), (0o500, 0o700), (0o755, 0o755)]
            {
                set(dir, bad)?;
                prepare(&host, &place)?;
                assert_eq!(mode(dir), after, "{} {bad:o}", dir.display());
            }
        }
        // What no guest can change is somebody else's doing.
        for dir in [&state.project, &state.shared] {
            set(dir, 0o777)?;
            assert!(prepare(&host, &place).is_err(), "{}", dir.display());
            set(dir, 0o700)?;
        }
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).what(|| "mkdir")?;
        set(&elsewhere, 0o777)?;
        std::fs::remove_dir(&state.login).what(|| "rm")?;
        std::os::unix::fs::symlink(&elsewhere, &state.login).what(|| "ln")?;
        assert!(prepare(&host, &place).is_err());
        assert_eq!(mode(&elsewhere), 0o777, "a link is not followed");
        Ok(())
    }

    #[test]
    fn a_key_is_approved_unless_there_is_a_login_or_an_answer() -> Result<()> {
        let dir = tempfile::tempdir().what(|| "tempdir")?;
        let mut host = host();
        host.home = dir.path().to_path_buf();
        let state = State::of(dir.path(), "k", Home::Project);
        let place = Place { root: "/p".into(), rest: "".into(), identity: None, state, git: Vec::new() };
        assert_eq!(approved_key(&host, &place), None, "no key");
        let key = "sk-ant-0123456789abcdefghijklmnopqrst";
        host.env.insert("ANTHROPIC_API_KEY".into(), key.into());
        assert_eq!(approved_key(&host, &place).as_deref(), Some(key));
        let write = |path: PathBuf, text: &str| {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).and_then(|()| std::fs::write(&path, text))
        };
        let answer = |word: &str| format!(r#"{{"customApiKeyResponses":{{"{word}":["abcdefghijklmnopqrst"]}}}}"#);
        for (path, text, approved) in [
            (".claude.json", answer("approved"), true),
            (".claude.json", answer("rejected"), false),
            (".claude.json", "not json".to_owned(), true),
            ("login/claude/.credentials.json", "{}".to_owned(), false),
        ] {
            write(dir.path().join(path), &text).what(|| path)?;
            assert_eq!(approved_key(&host, &place).is_some(), approved, "{path}: {text}");
            std::fs::remove_file(dir.path().join(path)).what(|| path)?;
        }
        Ok(())
    }
}
