//! What the host's file system did, told to the guest.

use serde::{Deserialize, Serialize};

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
