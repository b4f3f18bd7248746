//! What the host does to files that the guest knows, as events of the guest's own kernel.
//!
//! A guest's kernel is told nothing of changes on the host, so watchers in it would miss them. Here is how they learn:
//! 1. The server says which directories the guest knows ([`FromServer::Known`]); nobody in the guest can watch another one.
//! 2. The host's side watches those, and sends what happened in them, some milliseconds together ([`ToServer::Happened`]).
//! 3. The server drops what the guest did itself ([`echo`]), joins what belongs together ([`coalesce`]), makes itself ready
//!    ([`ghosts`]), and answers with a list of acts, which the host's side hands to the guest's supervisor.
//! 4. The supervisor repeats each act as a system call. Its requests, and only its, are answered as if the act had not
//!    happened yet and then did. Nothing on the host is touched, and what was not announced is refused.
//! 5. When the list is done ([`ToServer::Done`]), what is left of the announcements is void. There is one list at a time; one
//!    without acts is done as it comes.

mod coalesce;
mod echo;
mod ghosts;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod moved_tests;
mod outbox;
mod prepare;
mod server;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use vmclaude_init::wire::proto::Act;

pub(super) use ghosts::Ghosts;
pub(super) use server::serve;

/// From the server to whoever watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromServer {
    /// The guest knows this directory: a number for it, its mount's tag, and its path from there.
    Known(u64, Vec<u8>, Vec<u8>),
    /// The guest does not know it any more.
    Forgotten(u64),
    /// What the guest shall repeat of what happened; may be nothing.
    Acts(Vec<Act>),
    /// The guest does more than is kept of it, so not everything is told. Said once.
    NotAll,
}

/// To the server from whoever watches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToServer {
    /// This thread of the guest repeats.
    By(u32),
    /// This directory is not watched after all.
    Unwatched(u64),
    /// What happened, in order; answered by one [`FromServer::Acts`].
    Happened(Vec<Happening>),
    /// The guest has repeated the last list.
    Done,
}

/// Something that happened to a name in a watched directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// The directory's number.
    pub dir: u64,
    /// The name.
    pub name: Vec<u8>,
    /// What.
    pub what: What,
    /// Whether it is a directory.
    pub directory: bool,
}

/// See [`Happening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum What {
    /// It was made.
    Created,
    /// Its contents changed.
    Changed,
    /// Somebody who could write to it closed it.
    Closed,
    /// Its attributes changed.
    Attributes,
    /// It was removed.
    Deleted,
    /// It was renamed, and this was its name; the number is that of the renaming.
    From(u32),
    /// It was renamed, and this is its name now.
    To(u32),
}

/// The longest frame in either direction.
pub const MAX_FRAME: usize = 4 << 20;
/// How many happenings are sent together at most: what comes of them fits a frame whatever the paths are, and an emulated
/// guest repeats them in a second or two.
pub const MAX_TOGETHER: usize = 400;
