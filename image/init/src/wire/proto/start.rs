//! What the host asks for: one command, and the machine that it finds.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Everything that the guest needs to know to run one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment: names and values.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the command starts.
    pub cwd: Vec<u8>,
    /// User and group id of the command.
    pub user: (u32, u32),
    /// The mode bits that new files do not get.
    pub umask: u32,
    /// What stdin, stdout and stderr are.
    pub stdio: [Stdio; 3],
    /// The size of the terminal; `None`: no controlling terminal.
    pub terminal: Option<WinSize>,
    /// Directories of the share to bind: (name in the share, path in the guest, writable).
    pub binds: Vec<(String, Vec<u8>, bool)>,
    /// What of the project is on this machine's own disks.
    pub local: Option<Local>,
    /// Links to make, where nothing is and to what is there: (where, to what).
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files of the guest's own system to write: (where, what).
    pub system: Vec<(Vec<u8>, Vec<u8>)>,
    /// Certificates of authorities that the host trusts, each a text (PEM).
    pub certificates: Vec<String>,
    /// Files of the user's to make where nothing is: (where, what).
    pub seeds: Vec<(Vec<u8>, Vec<u8>)>,
    /// A key that Claude Code need not ask about: its file, and the end of the key, by which it remembers answers.
    pub approve: Option<(Vec<u8>, String)>,
    /// Files that are there if the system has mounted the directories that were meant.
    pub proofs: Vec<Vec<u8>>,
    /// Directories of the user's that are this machine's own.
    pub own: Vec<Vec<u8>>,
    /// Where the user's ssh agent listens; `None`: there is none.
    pub agent: Option<Vec<u8>>,
    /// The port on loopback behind which the host adds the key to requests of Claude's; `None`: there is none.
    pub api: Option<u16>,
    /// Ports on the guest's loopback that lead to the same local address on the host.
    pub forwards: Vec<(IpAddr, u16)>,
    /// The way out; `None`: there is none, not even the proxies.
    pub network: Option<Network>,
    /// Fresh random bytes from the host for the guest's generator.
    pub seed: Vec<u8>,
    /// The time: seconds and nanoseconds since 1970.
    pub now: (u64, u32),
}

/// Directories of the project that are on a disk of this machine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Where, from the project's root.
    pub dirs: Vec<Vec<u8>>,
    /// Whether there is a disk that keeps them; else they are on the one that vanishes with the machine.
    pub kept: bool,
}

/// What the guest's network looks like from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Whether the host can reach IPv6 addresses: without, the guest has no route to them and does not try.
    pub ipv6: bool,
    /// Whether datagrams are carried that are not questions for names.
    pub datagrams: bool,
    /// Domains in which short names are looked up.
    pub search: Vec<String>,
}

/// What one of the three standard streams is in the guest: the same as on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// The terminal.
    Terminal,
    /// A pipe, carried by a stream of its own.
    Pipe,
    /// `/dev/null`.
    Null,
    /// Closed.
    Closed,
}

/// A terminal's size in characters and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WinSize {
    /// Rows of characters.
    pub rows: u16,
    /// Columns of characters.
    pub cols: u16,
    /// Width in pixels; 0: unknown.
    pub width: u16,
    /// Height in pixels; 0: unknown.
    pub height: u16,
}
