//! The second barrier: a hook of the host's Claude Code that runs `vmclaude guard`, for ways to start it that no shell sees.

use crate::enrollment::{shown, store};
use crate::error::{Context, Failure, Result};
use crate::files::{private_dir, quoted, write_atomic};
use crate::hook::claude::{self, Registered};
use crate::host::Host;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// In the state directory when somebody does not want to be asked again.
const DECLINED: &str = "no-guard";

/// The settings of the host's Claude Code.
pub fn file(host: &Host) -> PathBuf {
    let configured = host.var("CLAUDE_CONFIG_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    configured.unwrap_or_else(|| host.home.join(".claude")).join("settings.json")
}

/// Whether they have the hook.
pub fn registered(host: &Host) -> Registered {
    match (std::fs::read_to_string(file(host)), command(host)) {
        (Ok(text), Ok(command)) => claude::registered(&text, &command),
        _ => Registered::No,
    }
}

/// Whether somebody who enrolls is to be asked: Claude Code was used on this host, and nobody has answered yet.
pub fn is_open(host: &Host) -> bool {
    let used = file(host).parent().is_some_and(Path::is_dir);
    used && registered(host) == Registered::No && !host.dirs.state.join(DECLINED).exists()
}

/// Nobody asks again.
///
/// # Errors
/// When that cannot be written down.
pub fn decline(host: &Host) -> Result<()> {
    private_dir(&host.dirs.state)?;
    write_atomic(&host.dirs.state.join(DECLINED), b"", 0o600)
}

/// Puts the hook into the settings; whether that changed them.
///
/// # Errors
/// When they are not settings, or are not ours to write. They are then as they were.
pub fn install(host: &Host) -> Result<bool> {
    let command = command(host)?;
    let changed = edit(host, |text| claude::add(text, &command)).map_err(|e| {
        let by_hand = format!("add this command to UserPromptSubmit and PreToolUse by hand: {command}");
        Failure { next: e.next.or(Some(by_hand)), ..e }
    })?;
    let _ = std::fs::remove_file(host.dirs.state.join(DECLINED));
    Ok(changed)
}

/// Takes the hook out of the settings; whether that changed them.
///
/// # Errors
/// As [`install`].
pub fn remove(host: &Host) -> Result<bool> {
    edit(host, |text| if text.is_empty() { Ok(String::new()) } else { claude::remove(text) })
}

fn command(host: &Host) -> Result<String> {
    let entries = store::read(&host.dirs.state).unwrap_or_default();
    claude::command(&store::stable_exe(host, &entries), &host.dirs.state)
        .map_err(|why| Failure::refused("cannot name vmclaude to Claude Code").because(why))
}

/// Reads, changes and replaces the settings: the whole file or nothing, a link stays a link.
fn edit(host: &Host, change: impl Fn(&str) -> std::result::Result<String, String>) -> Result<bool> {
    let named = file(host);
    let what = || format!("cannot change {}", shown(&named));
    // A link's target, also when it is not there yet.
    let path = std::fs::canonicalize(&named).unwrap_or_else(|_| named.clone());
    let (before, mode) = match std::fs::read_to_string(&path) {
        Ok(text) => (text, mode_to_keep(&path, host)?),
        Err(e) if e.kind() == ErrorKind::NotFound && named.symlink_metadata().is_err() => (String::new(), 0o600),
        Err(e) => return Err(Failure::refused(what()).because(e).next(format!("ls -l {}", quoted(&named)))),
    };
    let after = change(&before).map_err(|why| Failure::refused(what()).because(why))?;
    if after == before {
        return Ok(false);
    }
    // Claude Code writes this file too: what it wrote since is not lost.
    if std::fs::read_to_string(&path).unwrap_or_default() != before {
        return Err(Failure::refused(what()).because("another program changed it just now").next("the same again"));
    }
    // Behind a link there was a file before us.
    let after = if after.is_empty() && named.is_symlink() { "{}\n".to_owned() } else { after };
    if after.is_empty() {
        std::fs::remove_file(&path).what(what)?;
        return Ok(true);
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        private_dir(dir)?;
    }
    write_atomic(&path, after.as_bytes(), mode)?;
    Ok(true)
}

/// The mode of a file that its owner, who we are, lets us write. To replace another would go around what they said.
fn mode_to_keep(path: &Path, host: &Host) -> Result<u32> {
    let meta = std::fs::metadata(path).what(|| format!("cannot look at {}", shown(path)))?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.uid() != host.uid || mode & 0o200 == 0 {
        return Err(Failure::refused(format!("cannot change {}", shown(path))).because(if meta.uid() == host.uid {
            "it is read-only"
        } else {
            "it belongs to another user"
        }));
    }
    Ok(mode)
}
