//! The registry on disk, and what enrollment installs beside it: shim, hooks, and where vmclaude is.

use crate::enrollment::refused;
use crate::error::{Failure, Result};
use crate::files::{LOCK_LIMIT, Lock, check_private, lock_within, private_dir, quoted, write_atomic};
use crate::hook::{self, Shell};
use crate::host::{Dirs, Host};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use vmclaude_shim::Refusal;
use vmclaude_shim::refusal::Damage;
use vmclaude_shim::registry::{Entry, FILE, LOCK, Registry, escape, render, unescape, was_initialised};

/// Other contents after every change of the registry. Prompts read it, because a shell can do that without a process.
pub const STAMP: &str = "stamp";

/// The registry, held for a change: nobody else can change it meanwhile.
pub struct Store {
    /// What is enrolled. Nothing is written before [`Store::save`].
    pub entries: Vec<Entry>,
    /// Whether an earlier registry was lost. It stays so, and claude refuses everywhere, until [`Store::save`].
    pub was_lost: bool,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Takes the lock and reads. Only where there has never been a registry is an empty one begun: one that was lost stays lost
    /// until [`Store::save`], because an empty one in its place would send every enrolled directory to the host.
    ///
    /// # Errors
    /// When the state directory cannot be made or trusted, or the registry is damaged.
    pub fn open(host: &Host) -> Result<Store> {
        let state = &host.dirs.state;
        private_dir(state)?;
        let before = was_initialised(state);
        let lock = lock_within(&state.join(LOCK), LOCK_LIMIT)?;
        let path = state.join(FILE);
        // Looked at under the lock: two first enrollments at once must not both find nothing.
        let is_there = path.symlink_metadata().is_ok();
        if !is_there && !before {
            // At once: from the lock on, a missing registry is a lost one.
            write_atomic(&path, &render(&[]), 0o600)?;
        }
        let was_lost = before && !is_there;
        let entries = if was_lost { Vec::new() } else { read(state)? };
        Ok(Store { entries, was_lost, path, _lock: lock })
    }

    /// The registry, for a change that makes sense only when what was enrolled is known.
    ///
    /// # Errors
    /// As [`Store::open`], and when the registry was lost.
    pub fn open_known(host: &Host) -> Result<Store> {
        let store = Store::open(host)?;
        match store.was_lost {
            true => Err(refused(Refusal::Registry { path: store.path, damage: Damage::Missing })),
            false => Ok(store),
        }
    }

    /// Replaces the registry by what `entries` holds now.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then untouched.
    pub fn save(&self) -> Result<()> {
        let text = render(&self.entries);
        write_atomic(&self.path, &text, 0o600)?;
        // The end line: a count and a checksum.
        let end = text.strip_suffix(b"\n").unwrap_or(&text).rsplit(|b| *b == b'\n').next().unwrap_or_default();
        write_atomic(&self.path.with_file_name(STAMP), &[end, b"\n"].concat(), 0o600)
    }
}

/// What is enrolled.
///
/// # Errors
/// When the registry cannot be trusted.
pub fn read(state: &Path) -> Result<Vec<Entry>> {
    let Some(registry) = Registry::read(state).map_err(refused)? else { return Ok(Vec::new()) };
    registry.entries().map_err(|damage| refused(Refusal::Registry { path: state.join(FILE), damage }))
}

/// A file that enrollment installs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

/// Puts the shim, the hooks and the note where vmclaude is into the state directory, where they are missing or old.
///
/// # Errors
/// When the shim is not beside vmclaude, the state directory cannot be on PATH, or a file cannot be written.
pub fn install(host: &Host, entries: &[Entry]) -> Result<()> {
    let files = files(host, entries)?;
    private_dir(&host.dirs.state.join("shims"))?;
    for file in files.iter().filter(|file| !file.is_current()) {
        if file.path.is_dir() {
            return Err(Failure::refused(format!("{} is a directory", file.path.display()))
                .next(format!("rmdir {}", quoted(&file.path))));
        }
        write_atomic(&file.path, &file.bytes, file.mode)?;
    }
    Ok(())
}

/// What [`install`] puts in place, in its order.
///
/// # Errors
/// When the shim is not beside vmclaude, or the state directory cannot be on PATH.
pub fn files(host: &Host, entries: &[Entry]) -> Result<Vec<Installed>> {
    let state = &host.dirs.state;
    if state.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b'\n')) {
        return Err(Failure::refused(format!("cannot put {} on PATH", state.display()))
            .because("there is a colon or a newline in its name")
            .next("export XDG_STATE_HOME=$HOME/.local/state"));
    }
    let shim = shim(host)?;
    let mut exe = stable_exe(host, entries).into_os_string().into_encoded_bytes();
    exe.push(b'\n');
    let file = |name: &str, bytes: Vec<u8>, mode| Installed { path: state.join(name), bytes, mode };
    let mut files = vec![file("exe", exe, 0o600), file("dirs", dirs_text(&host.dirs), 0o600)];
    for shell in Shell::ALL {
        files.push(Installed {
            path: hook::file(state, shell),
            bytes: hook::render(shell, state)?.into_bytes(),
            mode: 0o644,
        });
    }
    files.push(file("env.sh", hook::env(state)?.into_bytes(), 0o644));
    files.push(file("where", shim.clone(), 0o755));
    files.push(file("wrapper", shim.clone(), 0o755));
    // The shim last: from then on it is found on PATH, and it needs the others.
    files.push(file("shims/claude", shim, 0o755));
    Ok(files)
}

impl Installed {
    /// Whether the file is there as it should be.
    pub fn is_current(&self) -> bool {
        let Ok(meta) = std::fs::symlink_metadata(&self.path) else { return false };
        let private = meta.permissions().mode() & 0o7777 == self.mode && check_private(&self.path, &meta).is_ok();
        meta.is_file() && private && std::fs::read(&self.path).is_ok_and(|bytes| bytes == self.bytes)
    }
}

/// Our directories as they were when something was last enrolled with this state directory: `HOME=/x claude` must not look
/// for images and settings in `/x`. `None` when that was not noted.
pub fn dirs(state: &Path) -> Option<Dirs> {
    let bytes = vmclaude_shim::registry::read_private(state, &state.join("dirs")).ok()?;
    let mut lines = bytes.split(|b| *b == b'\n').map(|line| unescape(line).filter(|path| path.is_absolute()));
    let mut next = || lines.next().flatten();
    Some(Dirs { state: state.to_path_buf(), data: next()?, config: next()?, cache: next()?, guest_home: next()? })
}

fn dirs_text(dirs: &Dirs) -> Vec<u8> {
    let lines =
        [&dirs.data, &dirs.config, &dirs.cache, &dirs.guest_home].map(|dir| [escape(dir), b"\n".to_vec()].concat());
    lines.concat()
}

/// The shim's bytes. A copy is installed, never a link: a shell skips a link that dangles, and finds the host's claude.
fn shim(host: &Host) -> Result<Vec<u8>> {
    let bin = host.exe.parent().unwrap_or(Path::new("/"));
    let file = bin.with_file_name("lib").join("vmclaude/vmclaude-shim");
    std::fs::read(&file).map_err(|e| {
        Failure::refused("vmclaude is not completely installed")
            .because(format!("{}: {e}", file.display()))
            .next("install.sh again (in a checkout: tests/build-shim)")
    })
}

/// Our program's name as the user installed it, when PATH has one that leads to this very file: package managers keep the
/// file itself in a directory of its version, which the next upgrade removes. Not a name that a guest could point elsewhere.
pub(crate) fn stable_exe(host: &Host, entries: &[Entry]) -> PathBuf {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let own = id(&host.exe);
    let dirs = host.env.get(std::ffi::OsStr::new("PATH")).map(|p| std::env::split_paths(p).collect::<Vec<_>>());
    let named = dirs.unwrap_or_default().into_iter().filter(|d| d.is_absolute()).map(|d| d.join("vmclaude"));
    let in_tree = |file: &Path| {
        let dir = file.parent().and_then(|dir| std::fs::canonicalize(dir).ok());
        dir.is_none_or(|dir| entries.iter().any(|e| dir.starts_with(&e.path)))
    };
    named
        .into_iter()
        .find(|file| own.is_some() && id(file) == own && !in_tree(file))
        .unwrap_or_else(|| host.exe.clone())
}
