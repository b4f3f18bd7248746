//! The words of the wire, which follow the hello: typed frames (see [`super::coding`] for their bytes).
//!
//! The host opens the stream [`Open::Control`] first. Every stream starts with an [`Open`] that says what it is. An
//! unknown or malformed frame is an error, never skipped.

mod acts;
mod start;

pub use super::coding::{HELLO_LEN, decode, encode, hello, receive, send, version_of};
pub use acts::{Act, Noticed};
pub use start::{Local, Network, Start, Stdio, WinSize};

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of everything in this module and in [`super::mux`]. Any change to either raises it.
pub const VERSION: u16 = 8;

/// The largest frame that the host accepts from the guest, in bytes.
pub const MAX_TO_HOST: usize = 64 << 10;
/// The largest frame that the guest accepts from the host, in bytes: arguments and environment may be 2 MiB each.
pub const MAX_TO_GUEST: usize = 8 << 20;

/// The port of the guest's HTTP proxy, on its loopback: the supervisor, which carries every connection to the host.
pub const PROXY_PORT: u16 = 3128;

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
    /// It was not tried, because the directory to start in cannot be changed to: the reason.
    NoDirectory(String),
}

/// A signal by name; numbers differ between systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The name with SIG, such as `SIGTERM`; for one that has none, such as a real-time signal, empty.
    pub name: String,
    /// The number on the side that sent this, for a name that the other side does not know.
    pub number: u8,
}
