//! Finding the host's own claude: never ourselves, never a file that a guest could have written.

use crate::decide::{Chain, Verdict, in_tree};
use crate::exec::{FileId, c_string};
use crate::registry::{self, Registry};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where to look, and what must not be found.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// `$PATH`.
    pub path: Option<&'a OsStr>,
    /// `$HOME`, for the usual places when PATH has none.
    pub home: Option<&'a OsStr>,
    /// Our state directory.
    pub state: &'a Path,
    /// What is enrolled.
    pub registry: Option<&'a Registry>,
}

/// The host's claude, the one that would run if we were not here, and which file that is. Those in `tried` have been tried.
pub fn find_host_claude(search: &Search<'_>, tried: &[FileId]) -> Option<(PathBuf, FileId)> {
    let path = search
        .path
        .map_or(&b""[..], OsStr::as_bytes)
        .split(|b| *b == b':')
        .map(|dir| Path::new(OsStr::from_bytes(dir)));
    let home = Path::new(search.home.unwrap_or_default());
    let usual =
        [home.join(".local/bin"), home.join(".claude/local"), "/opt/homebrew/bin".into(), "/usr/local/bin".into()];
    let ours: Vec<FileId> = [search.state.join("shims/claude"), search.state.join("where")]
        .into_iter()
        .chain(vmclaude(search.state).ok())
        .filter_map(|file| inode(&file))
        .collect();
    let others = |id: &FileId| !ours.contains(id) && !tried.contains(id);
    path.chain(usual.iter().map(PathBuf::as_path)).find_map(|dir| candidate(search, dir, others))
}

/// The program that enrollment recorded: one line, its absolute path.
///
/// # Errors
/// What is wrong with the record.
pub fn vmclaude(state: &Path) -> Result<PathBuf, String> {
    let file = state.join("exe");
    let bytes =
        registry::read_private(state, &file).map_err(|(path, damage)| format!("{}: {damage}", path.display()))?;
    let path = Path::new(OsStr::from_bytes(bytes.strip_suffix(b"\n").unwrap_or(&bytes)));
    if path.is_absolute() { Ok(path.to_path_buf()) } else { Err(format!("{} holds no absolute path", file.display())) }
}

fn candidate(search: &Search<'_>, dir: &Path, may_be: impl Fn(&FileId) -> bool) -> Option<(PathBuf, FileId)> {
    // A relative or empty entry means "whatever lies here", which is nobody's installed claude.
    if !dir.is_absolute() {
        return None;
    }
    let file = dir.join("claude");
    let id = inode(&file).filter(may_be)?;
    if !is_executable(&file) {
        return None;
    }
    let real_dir = std::fs::canonicalize(&file).ok()?.parent()?.to_path_buf();
    let dir = std::fs::canonicalize(dir).ok()?;
    // By location too: a second copy of the shim has another inode.
    if is_shims(&dir) || is_shims(&real_dir) || enrolled(search.registry, &dir) {
        return None;
    }
    if real_dir != dir && enrolled(search.registry, &real_dir) {
        return None;
    }
    Some((file, id))
}

/// Whether some vmclaude keeps its shim here: this one, another user's, another state directory's.
fn is_shims(dir: &Path) -> bool {
    let named = dir.file_name() == Some(OsStr::new("shims"));
    named
        && dir
            .parent()
            .is_some_and(|up| up.file_name() == Some(OsStr::new("vmclaude")) || up.join(registry::FILE).exists())
}

fn enrolled(registry: Option<&Registry>, dir: &Path) -> bool {
    let Some(registry) = registry.filter(|r| !r.is_empty()) else { return false };
    !matches!(in_tree(registry, &Chain::of(dir.to_path_buf())), Verdict::Host { .. })
}

fn inode(file: &Path) -> Option<FileId> {
    let meta = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    Some((meta.dev(), meta.ino()))
}

fn is_executable(file: &Path) -> bool {
    let Ok(path) = c_string(file.as_os_str()) else { return false };
    // SAFETY: the path is a C string that lives through the call.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}
