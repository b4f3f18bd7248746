//! What one run will see, execute and be allowed: data only, building it starts nothing.

pub mod env;
pub mod limits;
pub mod mounts;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use limits::Limits;

/// One run. `--dry-run` prints it, an engine turns it into processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The command in the guest and its arguments, byte for byte.
    pub argv: Vec<OsString>,
    /// The directory that the command starts in, in the guest.
    pub cwd: PathBuf,
    /// What of the host the guest sees. The first is the project.
    pub mounts: Vec<Mount>,
    /// Links in the guest, so that host paths in arguments and messages work: (where, to what).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The environment of the command. Values are secret: only names are ever printed.
    pub env: Vec<(OsString, OsString)>,
    /// Who the command runs as in the guest.
    pub user: User,
    /// Processors and memory.
    pub limits: Limits,
    /// Local addresses that the guest may reach, each also on its own loopback at the same port.
    pub allow_hosts: Vec<SocketAddr>,
}

/// A directory of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host: canonical.
    pub host: PathBuf,
    /// Where it is in the guest: absolute.
    pub guest: PathBuf,
    /// The name under which the share serves it (one path component).
    pub tag: String,
    /// Whether the guest may write.
    pub writable: bool,
}

/// The guest's user; the host's own ids where those are not root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id in the guest.
    pub uid: u32,
    /// Group id in the guest.
    pub gid: u32,
}
