//! The registry on disk, and what enrollment installs beside it: shim, hooks, and where vmclaude is.

use crate::enrollment::refused;
use crate::error::{Context, Failure, Result};
use crate::files::{Lock, check_private, lock, private_dir, quoted, write_atomic};
use crate::hook::{self, Shell};
use crate::host::Host;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use vmclaude_shim::Refusal;
use vmclaude_shim::registry::{Entry, FILE, LOCK, Registry, render, was_initialised};

/// The registry, held for a change: nobody else can change it meanwhile.
pub struct Store {
    /// What is enrolled. Nothing is written before [`Store::save`].
    pub entries: Vec<Entry>,
    /// Whether an earlier registry was lost.
    pub was_lost: bool,
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Takes the lock and reads. A registry that is missing is begun anew; one that is damaged is not overwritten.
    ///
    /// # Errors
    /// When the state directory cannot be made or trusted, or the registry is damaged.
    pub fn open(host: &Host) -> Result<Store> {
        let state = &host.dirs.state;
        private_dir(state)?;
        let before = was_initialised(state);
        let lock = lock(&state.join(LOCK))?;
        let path = state.join(FILE);
        // Looked at under the lock: two first enrollments at once must not both find nothing.
        let is_there = path.symlink_metadata().is_ok();
        if !is_there {
            // At once: from the lock on, a missing registry is a lost one.
            write_atomic(&path, &render(&[]), 0o600)?;
        }
        Ok(Store { entries: read(state)?, was_lost: before && !is_there, path, _lock: lock })
    }

    /// Replaces the registry by what `entries` holds now.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then untouched.
    pub fn save(&self) -> Result<()> {
        write_atomic(&self.path, &render(&self.entries), 0o600)
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

/// Puts the shim, the hooks and the note where vmclaude is into the state directory, where they are missing or old.
///
/// # Errors
/// When the shim is not beside vmclaude, the state directory cannot be on PATH, or a file cannot be written.
pub fn install(host: &Host, entries: &[Entry]) -> Result<()> {
    let state = &host.dirs.state;
    if state.as_os_str().as_bytes().iter().any(|b| matches!(b, b':' | b'\n')) {
        return Err(Failure::refused(format!("cannot put {} on PATH", state.display()))
            .because("there is a colon or a newline in its name")
            .next("export XDG_STATE_HOME=$HOME/.local/state"));
    }
    let shim = shim(host)?;
    private_dir(&state.join("shims"))?;
    let mut exe = stable_exe(host, entries).into_os_string().into_encoded_bytes();
    exe.push(b'\n');
    // The shim last: from then on it is found on PATH, and it needs the others.
    refresh(&state.join("exe"), &exe, 0o600)?;
    for shell in Shell::ALL {
        refresh(&hook::file(state, shell), hook::render(shell, state)?.as_bytes(), 0o644)?;
    }
    refresh(&state.join("env.sh"), hook::env(state)?.as_bytes(), 0o644)?;
    refresh(&state.join("where"), &shim, 0o755)?;
    refresh(&state.join("shims/claude"), &shim, 0o755)
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
fn stable_exe(host: &Host, entries: &[Entry]) -> PathBuf {
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

fn refresh(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if meta.is_dir() {
            return Err(
                Failure::refused(format!("{} is a directory", path.display())).next(format!("rmdir {}", quoted(path)))
            );
        }
        let same = meta.is_file() && meta.permissions().mode() & 0o7777 == mode && check_private(path, &meta).is_ok();
        if same && std::fs::read(path).what(|| format!("cannot read {}", path.display()))? == bytes {
            return Ok(());
        }
    }
    write_atomic(path, bytes, mode)
}
