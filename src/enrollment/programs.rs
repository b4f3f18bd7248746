//! Which programs of the host may be started: none that somebody else, or a guest, could have put there.

use super::{shown, store};
use crate::error::{Failure, Result};
use crate::files::quoted;
use crate::host::Host;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a program that is not absolute, not the user's or root's, writable by others, or in an enrolled tree, by its
/// name and by what the name leads to.
///
/// # Errors
/// Exit 78 with the reason.
pub fn check(file: &Path, host: &Host) -> Result<()> {
    let refused = |why: String| {
        Failure::refused(format!("refusing to start {}", shown(file)))
            .because(why)
            .next(format!("ls -lL {}", quoted(file)))
    };
    if !file.is_absolute() {
        return Err(refused("its path is not absolute".to_owned()));
    }
    let real = std::fs::canonicalize(file).map_err(|e| refused(e.to_string()))?;
    let meta = std::fs::metadata(&real).map_err(|e| refused(e.to_string()))?;
    if meta.uid() != 0 && meta.uid() != host.uid {
        return Err(refused(format!("it belongs to user {}, neither root nor you", meta.uid())));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(refused(format!("others may write it: its mode is {:04o}", meta.mode() & 0o7777)));
    }
    for tree in store::read(&host.dirs.state)? {
        if real.starts_with(&tree.path) || file.starts_with(&tree.path) {
            return Err(refused(format!("it lies in {}, which a VM can write", shown(&tree.path))));
        }
    }
    Ok(())
}
