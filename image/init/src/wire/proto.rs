//! The words of the wire, which follow the hello: typed frames (see [`super::coding`] for their bytes).
//!
//! The host opens the stream [`Open::Control`] first. Every stream starts with an [`Open`] that says what it is. An
//! unknown or malformed frame is an error, never skipped.

pub use super::coding::{HELLO_LEN, decode, encode, hello, receive, send, version_of};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of everything in this module and in [`super::mux`]. Any change to either raises it.
pub const VERSION: u16 = 7;

/// The largest frame that the host accepts from the guest, in bytes.
pub const MAX_TO_HOST: usize = 64 << 10;
/// The largest frame that the guest accepts from the host, in bytes: arguments and environment may be 2 MiB each.
pub const MAX_TO_GUEST: usize = 8 << 20;

/// What a new stream is: the first bytes on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// [`ToGuest`] and [`ToHost`] frames; opened by the host, once.
    Control,
    /// Bytes of the terminal, both ways; opened by the host.
    Terminal,
    /// Bytes for a stdin that is not a terminal; opened by the host, ended by a half-close.
    Stdin,
    /// Bytes of a stdout that is not a terminal; opened by the host, written by the guest.
    Stdout,
    /// Bytes of a stderr that is not a terminal; opened by the host, written by the guest.
    Stderr,
    /// A connection that the guest wants to make; answered by one [`Dialled`] frame, then raw bytes.
    Dial(Target),
    /// Datagrams to one address, both ways, each behind its length (u16, big endian); answered by one [`Dialled`] frame.
    Udp(IpAddr, u16),
    /// Questions for names and their answers as in DNS over TCP; answered by one [`Dialled`] frame. `true`: the guest's
    /// program can take an answer of any length, `false`: one that fits its datagram.
    Dns(bool),
    /// A connection to the user's ssh agent, raw bytes; opened by the guest.
    Agent,
    /// HTTP/1.1 for Anthropic's API without a key, which the host adds; opened by the guest.
    Api,
    /// A connection to a port on the guest's loopback; opened by the host, answered by one [`Dialled`] frame, then raw
    /// bytes.
    Forward(u16),
    /// A connection whose program takes itself for connected already: as [`Open::Dial`], but nothing answers. What comes are
    /// the connection's bytes, or a reset.
    Caught(Target),
    /// Lists of [`Act`] from the host, each answered by [`Noticed`], behind one that says who answers; opened by the host.
    Events,
}

/// Where a guest's connection wants to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A name, which the host resolves.
    Name(String, u16),
    /// An address.
    Addr(IpAddr, u16),
}

/// The host's answer to [`Open::Dial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dialled {
    /// Connected: raw bytes follow.
    Ok,
    /// The host's rules forbid this destination.
    Forbidden,
    /// The name does not resolve.
    NoSuchName,
    /// The destination refused the connection.
    Refused,
    /// No route, or no answer in time.
    Unreachable,
    /// The user's list of what may be reached does not name this destination.
    NotListed,
}

/// Host to guest, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToGuest {
    /// What to run. Sent once, first.
    Start(Box<Start>),
    /// A signal for the command.
    Signal(Signal, Reach),
    /// The host's terminal has a new size.
    Resize(WinSize),
    /// The host has everything and knows the end: power off.
    ExitAck,
    /// The time, when the guest's clock cannot have kept it: seconds and nanoseconds since 1970.
    Clock(u64, u32),
    /// Whether the guest's own disk may grow no more, for want of room on the host's.
    DiskFull(bool),
    /// The memory that the guest named is seen here too: long data may go through it.
    UseMemory,
    /// Keys wait in the host's terminal behind so many bytes of keys that were sent: who wants them?
    KeysWait(u64),
    /// The host's terminal is gone, and so shall the guest's be.
    HungUp,
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// The command's process, as `kill` would.
    Process,
    /// The terminal's foreground job, or the command's process group.
    Group,
    /// Whomever the terminal's key for this signal would reach, with what that key echoes.
    Key,
}

/// Guest to host, on the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost {
    /// The command runs.
    Started,
    /// The command was stopped by a signal.
    Stopped(Signal),
    /// Whether the terminal's signal keys are signals for the command now; [`SignalKeys::USUAL`] to start with.
    SignalKeys(Option<SignalKeys>),
    /// The command is gone and all of its output was sent.
    Exit(Ended),
    /// The guest cannot do what it was asked to do: the reason, for a person.
    Failed(String),
    /// A line for the session's log.
    Log(String),
    /// So many processes were killed for want of memory. Sent before the end.
    OutOfMemory(u32),
    /// The project's volume cannot be used, and so nothing was started: the reason. The end, as `Failed`.
    NoVolume(String),
    /// The kernel has found so many errors in the volume's file system, now or before. Sent before the end.
    VolumeErrors(u64),
    /// A directory that should have been on the machine's own disk is not: from the project's root, and the reason.
    NotLocal(Vec<u8>, String),
    /// Memory of the guest's through which long data may go, if the host sees it.
    Memory(SharedMemory),
    /// Which keys the host sends from now on; [`Keys::Held`] to start with.
    Keys(Keys),
    /// What follows comes behind so many bytes of the terminal, which are on their way.
    Shown(u64),
    /// Only programs that use a proxy have a network: what this kernel cannot do.
    ProxiesOnly(String),
}

/// Which keys the guest wants. What nobody there reads stays in the host's terminal, for whoever reads it next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keys {
    /// All of them, as they come.
    All,
    /// Those of one line: somebody waits for it. Held again behind its end.
    Line,
    /// None: the command reads lines, and does not read now.
    Held,
}

/// A part of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// Its address in the machine.
    pub address: u64,
    /// Its bytes.
    pub size: u32,
    /// The bytes that it starts with now, by which the host recognizes it.
    pub mark: [u8; 16],
}

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

/// The keys that the terminal turns into signals; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalKeys {
    /// SIGINT, mostly Ctrl-C.
    pub interrupt: u8,
    /// SIGQUIT, mostly Ctrl-\.
    pub quit: u8,
    /// SIGTSTP, mostly Ctrl-Z.
    pub suspend: u8,
}

impl SignalKeys {
    /// Those of every new terminal.
    pub const USUAL: SignalKeys = SignalKeys { interrupt: 3, quit: 0x1c, suspend: 0x1a };
}

/// What the host did to a file of the share, for the guest's kernel to notice: the guest repeats it, and the share server
/// takes it as done. Paths are from the share's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// It was made, with this type in the bits of its mode.
    Create(Vec<u8>, u32),
    /// Its contents were changed, and what wrote them closed it.
    Write {
        /// Where it is.
        path: Vec<u8>,
        /// Whether there is a change.
        changed: bool,
        /// Whether there was an end of writing.
        closed: bool,
    },
    /// Its attributes were changed.
    Attributes(Vec<u8>),
    /// It was removed; `true`: a directory.
    Delete(Vec<u8>, bool),
    /// It was renamed: from where, to where.
    Rename(Vec<u8>, Vec<u8>),
    /// Where the share server is not ours: this directory is watched on the host. Its path is from the project's root, as is
    /// the next one's.
    Watch(Vec<u8>),
    /// There too: something happened to this name, on the host or from the guest.
    Look {
        /// Where it is, or was.
        path: Vec<u8>,
        /// Whether more may have changed than its attributes.
        written: bool,
    },
}

/// The guest's answers to lists of [`Act`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Noticed {
    /// The thread that will repeat what the host did. Sent first.
    By(u32),
    /// A list is done.
    All,
}

/// How the command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It exited.
    Code(u8),
    /// A signal killed it.
    Signal(Signal),
    /// There is no such program: the name.
    NotFound(String),
    /// The program cannot be executed: the reason.
    NotExecutable(String),
}

/// A signal by name; numbers differ between systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The name with SIG, such as `SIGTERM`; for one that has none, such as a real-time signal, empty.
    pub name: String,
    /// The number on the side that sent this, for a name that the other side does not know.
    pub number: u8,
}
