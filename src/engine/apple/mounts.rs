//! How a directory is spelt in an argument.
//!
//! `-v` is split at `:` and cannot hold one; `--mount` is split at `,` and `=`. What neither can hold, and what might be read
//! as something else on the way (the system's text is made of whole characters of Unicode), goes through a link of ours:
//! sources are resolved before they are shared. Directories only: a file would share all of its directory.

use crate::error::{Failure, Result};
use crate::plan::Mount;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What `container` is told, and the links that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spelt {
    /// Arguments.
    pub args: Vec<OsString>,
    /// Links to make first: (where, to what).
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// The longest path that a socket can have on macOS, without its last zero.
const SOCKET_PATH: usize = 103;

/// Whether a session's directory can be spelt by `-v`, sockets in it included.
pub fn is_plain(dir: &Path) -> bool {
    let socket = dir.join(super::SOCKET);
    is_text(&socket) && !contains(&socket, ":") && socket.as_os_str().len() <= SOCKET_PATH
}

/// The arguments for `mounts`, with links in `dir` where need be.
///
/// # Errors
/// When one directory is to be writable in one place and read-only in another: one share serves both, and the last one
/// decides.
pub fn spell(mounts: &[Mount], dir: &Path) -> Result<Spelt> {
    let mut spelt = Spelt::default();
    for (n, mount) in mounts.iter().enumerate() {
        if let Some(other) = mounts[..n].iter().find(|o| o.host == mount.host && o.writable != mount.writable) {
            return Err(Failure::refused(format!("cannot show {} to a VM", mount.host.display()))
                .because(format!(
                    "it would be writable and read-only at once, at {} and {}",
                    other.guest.display(),
                    mount.guest.display()
                ))
                .next("vmclaude status   # show it once, or with one mode"));
        }
        let source = if is_text(&mount.host) && !(contains(&mount.host, ":") && contains(&mount.host, ",=")) {
            mount.host.clone()
        } else {
            let link = dir.join(format!("mount{n}"));
            spelt.links.push((link.clone(), mount.host.clone()));
            link
        };
        spelt.args.extend(words(&source, &mount.guest, mount.writable));
    }
    Ok(spelt)
}

/// The two words for one directory.
fn words(source: &Path, guest: &Path, writable: bool) -> [OsString; 2] {
    let mut word = OsString::new();
    if contains(source, ":") {
        word.push("type=bind,source=");
        word.push(source);
        word.push(",target=");
        word.push(guest);
        word.push(if writable { "" } else { ",readonly" });
        return ["--mount".into(), word];
    }
    word.push(source);
    word.push(":");
    word.push(guest);
    word.push(if writable { "" } else { ":ro" });
    ["-v".into(), word]
}

/// Whether the system reads it as it is: characters that print, and an end that no following character can be part of.
fn is_text(path: &Path) -> bool {
    let Some(text) = path.to_str() else { return false };
    !text.chars().any(char::is_control) && text.ends_with(|c: char| c.is_ascii())
}

fn contains(path: &Path, any: &str) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|b| any.as_bytes().contains(b))
}
