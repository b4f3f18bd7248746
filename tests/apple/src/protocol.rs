//! Between the double's helper on the host and the first process of its machine: frames on the control stream of a
//! multiplexer of its own, which stands for vsock. A container's streams are streams; a relayed socket's connections are
//! opened by the guest.

use serde::{Deserialize, Serialize};

/// To the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToGuest {
    /// Prepare a container.
    Boot(Boot),
    /// Start its process; its three streams follow.
    Start,
    /// Send its process this signal.
    Kill(i32),
    /// It is so many seconds and nanoseconds after 1970.
    Time(u64, u32),
}

/// To the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ToHost {
    /// It is prepared.
    Booted,
    /// It could not be prepared or started.
    Failed(String),
    /// Its process ended so: 128 and the signal's number when one killed it.
    Exited(i32),
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// Its host name.
    pub(crate) name: String,
    /// Directories of the share: name there, destination, read-only.
    pub(crate) mounts: Vec<(String, String, bool)>,
    /// Where the volume is mounted, if there is one.
    pub(crate) volume: Option<String>,
    /// Sockets to relay: destination and mode.
    pub(crate) sockets: Vec<(String, u32)>,
    /// Where there is memory instead of a disk.
    pub(crate) tmpfs: Vec<String>,
    /// The process and its arguments.
    pub(crate) argv: Vec<String>,
    /// Numbers of the capabilities that it keeps.
    pub(crate) capabilities: Vec<u32>,
    /// Paths that it may not write to.
    pub(crate) read_only: Vec<String>,
}
