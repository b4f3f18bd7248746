//! The multiplexer without I/O: bytes in, bytes out, and the state of every stream between them.
//!
//! Memory is bounded whatever the other side sends: a window per stream, a limit on streams, answers that are kept as
//! flags of streams, and one queue of refusals that ends the wire when it is full.

use super::frame::{HEADER, Header, Kind, MAX_FRAME, MAX_PAYLOAD, PIECE, broken};
use super::pace::Pace;
use super::ring::Ring;
use super::stream::{Fin, Stream, Turn};
use super::turns::{FIRST_TURN, Line, Turns};
use crate::wire::proto::{self, Open};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::Waker;

/// Streams that the other side may have open at once.
pub const MAX_STREAMS: usize = 1024;
/// Streams beyond those whose refusals wait to be sent. More is no accident: the other side does not listen to them.
pub(super) const MAX_REFUSED: usize = 4 * MAX_STREAMS;
/// Bytes that wait in a stream to be sent before its writer has to wait.
const MAX_UNSENT: usize = 64 << 10;

/// Who we are: it decides which stream ids are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens odd ids.
    Host,
    /// Opens even ids.
    Guest,
}

/// All streams, and what is under way between them and the wire.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) next_id: u32,
    pub(super) last_peer_id: u32,
    pub(super) peer_streams: usize,
    pub(super) streams: HashMap<u32, Stream>,
    pub(super) opened: VecDeque<(Open, u32)>,
    pub(super) refused: VecDeque<u32>,
    pub(super) turns: Turns,
    pub(super) pace: Pace,
    pub(super) header: [u8; HEADER],
    pub(super) header_len: usize,
    pub(super) frame: Option<Header>,
    pub(super) payload: Vec<u8>,
    /// Memory that both sides see, if there is any.
    pub(super) ring: Option<Ring>,
    pub(super) ended: Option<io::ErrorKind>,
    pub(super) acceptor: Option<Waker>,
    pub(super) driver: Option<Waker>,
}

impl Core {
    pub(super) fn new(side: Side) -> Core {
        Core {
            next_id: if side == Side::Host { 1 } else { 2 },
            last_peer_id: 0,
            peer_streams: 0,
            streams: HashMap::new(),
            opened: VecDeque::new(),
            refused: VecDeque::new(),
            turns: Turns::default(),
            pace: Pace::default(),
            header: [0; HEADER],
            header_len: 0,
            frame: None,
            payload: Vec::new(),
            ring: None,
            ended: None,
            acceptor: None,
            driver: None,
        }
    }

    /// Which side this is: the ids of its streams say so.
    pub(super) fn side(&self) -> Side {
        if self.next_id.is_multiple_of(2) { Side::Guest } else { Side::Host }
    }

    /// Opens a stream of ours.
    pub(super) fn open(&mut self, open: &Open) -> io::Result<u32> {
        if let Some(kind) = self.ended {
            return Err(kind.into());
        }
        let mut payload = proto::encode(open)?.split_off(4);
        if payload.len() > MAX_PAYLOAD {
            return Err(broken("a stream's head is too long"));
        }
        payload.shrink_to_fit();
        let id = self.next_id;
        self.next_id = id.checked_add(2).ok_or_else(|| broken("no stream ids are left"))?;
        self.streams.insert(id, Stream::new(open, self.side(), Some(payload)));
        self.queue(id);
        Ok(id)
    }

    /// The next stream that the other side opened; the end of the wire is `Err`.
    pub(super) fn accept(&mut self, waker: &Waker) -> Option<io::Result<(Open, u32)>> {
        if let Some(next) = self.opened.pop_front() {
            return Some(Ok(next));
        }
        if let Some(kind) = self.ended {
            return Some(Err(kind.into()));
        }
        self.acceptor = Some(waker.clone());
        None
    }

    /// Reads up to `room` bytes into `sink`; `Some(Ok(0))` is the end of the stream.
    pub(super) fn read(
        &mut self,
        id: u32,
        room: usize,
        mut sink: impl FnMut(&[u8]),
        waker: &Waker,
    ) -> Option<io::Result<usize>> {
        let (ended, round) = (self.ended, self.round());
        let stream = self.streams.get_mut(&id)?;
        let most = room.min(stream.received.len());
        let n =
            if stream.urgent || ended.is_some() { most } else { self.pace.grant(most, stream.received.len(), round) };
        if n == 0 && most > 0 {
            stream.reader = Some(waker.clone());
            if !std::mem::replace(&mut stream.paced, true) {
                self.pace.wait(id);
            }
            self.driver.take().into_iter().for_each(Waker::wake);
            return None;
        }
        if n > 0 {
            let (front, back) = stream.received.as_slices();
            let first = n.min(front.len());
            sink(&front[..first]);
            sink(&back[..n - first]);
            stream.received.drain(..n);
            stream.read += n;
            if stream.has_credit_to_give() {
                self.queue(id);
            }
            return Some(Ok(n));
        }
        if stream.peer_fin {
            return Some(Ok(0));
        }
        if stream.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some(kind) = ended {
            return Some(Err(kind.into()));
        }
        stream.reader = Some(waker.clone());
        None
    }

    /// Takes bytes to send; `None` when the writer has to wait.
    pub(super) fn write(&mut self, id: u32, bytes: &[u8], waker: &Waker) -> Option<io::Result<usize>> {
        let ended = self.ended;
        let stream = self.streams.get_mut(&id)?;
        if stream.reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if stream.fin != Fin::No {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(kind) = ended {
            return Some(Err(kind.into()));
        }
        let n = bytes.len().min(MAX_UNSENT.saturating_sub(stream.unsent.len()));
        if n == 0 && !bytes.is_empty() {
            stream.writer = Some(waker.clone());
            return None;
        }
        stream.unsent.extend(&bytes[..n]);
        self.queue(id);
        Some(Ok(n))
    }

    /// Whether everything written was handed to the wire; `None` when the caller has to wait.
    pub(super) fn flushed(&mut self, id: u32, waker: &Waker) -> Option<io::Result<()>> {
        let ended = self.ended;
        let stream = self.streams.get_mut(&id)?;
        if stream.unsent.is_empty() && stream.opening.is_none() {
            return Some(Ok(()));
        }
        if stream.reset || ended.is_some() {
            return Some(Err(ended.unwrap_or(io::ErrorKind::ConnectionReset).into()));
        }
        stream.writer = Some(waker.clone());
        None
    }

    /// Ends our direction once everything written is sent.
    pub(super) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| s.fin == Fin::No) {
            stream.fin = Fin::Wanted;
            self.queue(id);
        }
    }

    /// The user of a stream is gone. What it wrote is still sent if it had finished; everything else is reset.
    pub(super) fn drop_stream(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.dropped = true;
        stream.received = VecDeque::new();
        if stream.fin == Fin::No {
            stream.unsent = VecDeque::new();
        }
        // A stream that was finished goes on sending; the reset behind its fin then only says: I read no more.
        let unfinished = stream.fin == Fin::No || !stream.peer_fin;
        stream.reset_wanted = unfinished && !stream.reset;
        self.queue(id);
        self.forget_if_over(id);
    }

    /// The wire is gone: everybody who waits learns of it.
    pub(super) fn end(&mut self, kind: io::ErrorKind) {
        self.ended.get_or_insert(kind);
        self.streams.values_mut().for_each(Stream::wake);
        self.acceptor.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn queue(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.wants_to_send()) else { return };
        self.driver.take().into_iter().for_each(Waker::wake);
        if stream.waits {
            return;
        }
        stream.waits = true;
        self.turns.wait(id, if stream.goes_first() { Line::Urgent } else { Line::Fresh(FIRST_TURN) });
        // Streams that were forgotten while they waited must not become many when the other side does not read.
        if self.turns.len() > 2 * self.streams.len() + MAX_STREAMS {
            self.turns.keep(|id| self.streams.contains_key(&id));
        }
    }

    /// How many entries wait for a turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn forget_if_over(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.streams.remove(&id);
            if id % 2 != self.next_id % 2 {
                self.peer_streams -= 1;
            }
        }
    }

    /// Appends at most one write's worth of frames to `out`, urgent streams first, the others in turn.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) {
        self.fill_streams(out);
        // Behind other things to say, or when it is time to say it.
        let fits = out.len() + HEADER + 4 <= MAX_FRAME;
        let due = |ring: &&mut Ring| ring.owes() || (!out.is_empty() && ring.has_taken());
        if let Some(ring) = self.ring.as_mut().filter(due).filter(|_| fits) {
            out.extend_from_slice(&Header { stream: 0, kind: Kind::Taken, len: 4 }.encode());
            out.extend_from_slice(&ring.taken().to_le_bytes());
        }
    }

    fn fill_streams(&mut self, out: &mut Vec<u8>) {
        while out.len() + HEADER + PIECE <= MAX_FRAME {
            if let (false, Some(stream)) = (self.turns.is_urgent(), self.refused.pop_front()) {
                out.extend_from_slice(&Header { stream, kind: Kind::Reset, len: 0 }.encode());
                continue;
            }
            let Some((id, line)) = self.turns.next() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            match stream.emit(id, out, self.ring.as_mut()) {
                Turn::TooLong => return self.turns.go_on(id, line), // First in the next write.
                Turn::Later => self.turns.park(id, line),
                Turn::Said(bytes) => self.next_turn(id, line, bytes),
            }
            self.forget_if_over(id);
            if self.ring.as_mut().is_some_and(Ring::got_loud) {
                self.turns.unpark();
            }
        }
    }

    /// Where a stream waits that has sent so much in its turn.
    fn next_turn(&mut self, id: u32, line: Line, sent: usize) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let wants = stream.wants_to_send();
        match line {
            _ if stream.goes_first() && wants => self.turns.wait(id, Line::Urgent),
            Line::Fresh(left) if wants && sent < left => self.turns.go_on(id, Line::Fresh(left - sent)),
            // Also when it has no more to say now: it is not fresh again before all who wait there have had their turn.
            Line::Fresh(_) if !stream.goes_first() => self.turns.wait(id, Line::Bulk),
            Line::Bulk if wants => self.turns.wait(id, Line::Bulk),
            _ => stream.waits = false,
        }
    }
}
