//! The state of one stream, and what it has to say next.

use super::core::Side;
use super::frame::{HEADER, Header, Kind, MAX_FRAME, PIECE};
use super::ring::{Put, Ring};
use crate::wire::proto::Open;
use std::collections::VecDeque;
use std::task::Waker;

/// How far our direction has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    No,
    Wanted,
    Sent,
}

/// What became of a stream's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many bytes were said.
    Said(usize),
    /// It needs more room than is left in this write.
    TooLong,
    /// It needs room in the memory that both sides see.
    Later,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Control and terminal go before everything else.
    pub(super) urgent: bool,
    /// The terminal.
    pub(super) keys: bool,
    pub(super) window: usize,
    pub(super) received: VecDeque<u8>,
    /// What the other side may still send.
    pub(super) allowed: usize,
    /// What was read here and not yet given back as credit.
    pub(super) read: usize,
    pub(super) peer_fin: bool,
    pub(super) unsent: VecDeque<u8>,
    pub(super) credit: usize,
    /// What the credit never exceeds: the other side's window.
    pub(super) most_credit: usize,
    pub(super) fin: Fin,
    pub(super) opening: Option<Vec<u8>>,
    pub(super) reset_wanted: bool,
    /// Reset by either side: nothing more will come or go.
    pub(super) reset: bool,
    pub(super) dropped: bool,
    /// For its turn, or for not being fresh: see [`super::turns`].
    pub(super) waits: bool,
    /// The reader waits for the next round: see [`super::pace`].
    pub(super) paced: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Stream {
    pub(super) fn new(open: &Open, side: Side, opening: Option<Vec<u8>>) -> Stream {
        let (window, credit) = windows(open, side);
        Stream {
            urgent: matches!(open, Open::Control | Open::Terminal),
            keys: *open == Open::Terminal,
            window,
            received: VecDeque::new(),
            allowed: window,
            read: 0,
            peer_fin: false,
            unsent: VecDeque::new(),
            credit,
            most_credit: credit,
            fin: Fin::No,
            opening,
            reset_wanted: false,
            reset: false,
            dropped: false,
            waits: false,
            paced: false,
            reader: None,
            writer: None,
        }
    }

    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Not with its opening: those are in the order of their numbers, or the other side takes them for used.
    pub(super) fn goes_first(&self) -> bool {
        self.urgent && self.opening.is_none()
    }

    pub(super) fn has_credit_to_give(&self) -> bool {
        !self.peer_fin && !self.dropped && self.read * 4 >= self.window
    }

    /// A reset waits behind what was finished and is still to be sent.
    pub(super) fn may_reset(&self) -> bool {
        self.reset_wanted && self.fin != Fin::Wanted
    }

    pub(super) fn wants_to_send(&self) -> bool {
        self.opening.is_some()
            || self.may_reset()
            || self.has_credit_to_give()
            || (!self.unsent.is_empty() && self.credit > 0)
            || (self.fin == Fin::Wanted && self.unsent.is_empty())
    }

    pub(super) fn is_over(&self) -> bool {
        let done = self.reset || (self.peer_fin && self.fin == Fin::Sent);
        self.dropped && done && !self.reset_wanted && self.opening.is_none()
    }

    /// Appends what this stream has to say now, if anything.
    pub(super) fn emit(&mut self, id: u32, out: &mut Vec<u8>, ring: Option<&mut Ring>) -> Turn {
        let before = out.len();
        let put = |out: &mut Vec<u8>, kind, payload: &[u8]| {
            out.extend_from_slice(&Header { stream: id, kind, len: payload.len() }.encode());
            out.extend_from_slice(payload);
        };
        if let Some(opening) = self.opening.take() {
            if out.len() + HEADER + opening.len() > MAX_FRAME {
                self.opening = Some(opening);
                return Turn::TooLong;
            }
            put(out, Kind::Open, &opening);
        } else if self.has_credit_to_give() {
            self.allowed += self.read;
            put(out, Kind::Credit, &u32::try_from(self.read).unwrap_or(u32::MAX).to_le_bytes());
            self.read = 0;
        } else if !self.unsent.is_empty() && self.credit > 0 && !self.reset {
            return self.emit_data(id, out, ring);
        } else if self.fin == Fin::Wanted && self.unsent.is_empty() {
            put(out, Kind::Fin, &[]);
            self.fin = Fin::Sent;
        } else if self.may_reset() {
            put(out, Kind::Reset, &[]);
            self.reset_wanted = false;
            self.reset = true;
        }
        Turn::Said(out.len() - before)
    }

    /// Bytes: through the memory that both sides see if there is any and they are many, else in a frame.
    fn emit_data(&mut self, id: u32, out: &mut Vec<u8>, mut ring: Option<&mut Ring>) -> Turn {
        let most = self.unsent.len().min(self.credit);
        let (front, back) = self.unsent.as_slices();
        let parts = |n: usize| [&front[..n.min(front.len())], &back[..n.saturating_sub(front.len())]];
        let piece = ring.as_ref().map_or(0, |ring| ring.most()).min(most);
        let n = match ring.as_mut().map_or(Put::No, |ring| ring.put(parts(piece))) {
            Put::Later => return Turn::Later,
            Put::At(at) => {
                out.extend_from_slice(&Header { stream: id, kind: Kind::Piece, len: PIECE }.encode());
                out.extend([at, piece].into_iter().flat_map(|n| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes()));
                piece
            }
            Put::No => {
                let n = most.min(MAX_FRAME - HEADER - out.len());
                out.extend_from_slice(&Header { stream: id, kind: Kind::Data, len: n }.encode());
                parts(n).into_iter().for_each(|part| out.extend_from_slice(part));
                n
            }
        };
        ring.into_iter().filter(|_| self.keys).for_each(Ring::key_went);
        self.unsent.drain(..n);
        self.credit -= n;
        self.writer.take().into_iter().for_each(Waker::wake);
        Turn::Said(n)
    }
}

/// Bytes that may be under way on such a stream: to us, and to the other side. Connections get less on the host, where
/// there can be a thousand of them of a guest that means harm.
fn windows(open: &Open, side: Side) -> (usize, usize) {
    match (open, side) {
        (Open::Dial(_) | Open::Caught(_) | Open::Forward(_), Side::Host) => (128 << 10, 256 << 10),
        (Open::Dial(_) | Open::Caught(_) | Open::Forward(_), Side::Guest) => (256 << 10, 128 << 10),
        _ => (256 << 10, 256 << 10),
    }
}
