//! Frames: a header of eight bytes and at most one write's worth of payload.
//!
//! `stream id: u32 LE`, `kind << 24 | payload length: u32 LE`, payload.

use std::io;

/// Bytes of a header.
pub(super) const HEADER: usize = 8;
/// Header and payload fit one write of the guest's virtio-serial driver, which takes 32 KiB at a time.
pub(super) const MAX_FRAME: usize = 32 << 10;
/// The most payload that one frame carries.
pub(super) const MAX_PAYLOAD: usize = MAX_FRAME - HEADER;
/// The payload of [`Kind::Piece`].
pub(super) const PIECE: usize = 8;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A new stream; the payload is its [`crate::wire::proto::Open`].
    Open = 1,
    /// Bytes of a stream.
    Data = 2,
    /// The receiver has read: so many bytes more may be sent (u32, LE).
    Credit = 3,
    /// No more bytes in this direction.
    Fin = 4,
    /// Nothing more in either direction; what was sent before is still delivered.
    Reset = 5,
    /// Bytes of a stream that lie in shared memory: where, and how many (u32 each, LE).
    Piece = 6,
    /// So many pieces were taken out of shared memory (u32, LE); of no stream, so its number is 0.
    Taken = 7,
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) stream: u32,
    pub(super) kind: Kind,
    pub(super) len: usize,
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.stream.to_le_bytes());
        let word = (self.kind as u32) << 24 | self.len as u32;
        bytes[4..].copy_from_slice(&word.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: [u8; HEADER]) -> io::Result<Header> {
        let [a, b, c, d, e, f, g, kind] = bytes;
        let len = u32::from_le_bytes([e, f, g, 0]) as usize;
        let (kind, most) = match kind {
            1 => (Kind::Open, MAX_PAYLOAD),
            2 => (Kind::Data, MAX_PAYLOAD),
            3 => (Kind::Credit, 4),
            4 => (Kind::Fin, 0),
            5 => (Kind::Reset, 0),
            6 => (Kind::Piece, PIECE),
            7 => (Kind::Taken, 4),
            _ => return Err(broken("a frame of an unknown kind")),
        };
        let fixed = matches!(kind, Kind::Credit | Kind::Piece | Kind::Taken);
        if len > most || (fixed && len != most) {
            return Err(broken("a frame of a wrong length"));
        }
        Ok(Header { stream: u32::from_le_bytes([a, b, c, d]), kind, len })
    }
}

/// The other side broke the protocol.
pub(super) fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
