//! A session with Apple's `container`: the client process, the socket that is the wire, and an end after which no container
//! of ours is left.
//!
//! The client is no more than a messenger: killed, it leaves the virtual machine running. So the supervisor ends by itself
//! when its wire or its stdin does, and whoever finds a container without a session removes it.

pub mod build;
mod call;
mod ending;
mod place;
mod proof;
pub mod service;
mod start;
pub mod volume;

pub use call::Asked;
pub use ending::{Leftovers, sweep};
pub(super) use ending::{finish, has_note};
pub(super) use proof::Proofs;
pub(super) use start::{Client, start};
