//! The multiplexer without I/O: bytes in, bytes out, and the state of every stream between them.
//!
//! Memory is bounded whatever the other side sends: a window per stream, a limit on streams, answers that are kept as
//! flags of streams, and one queue of refusals that ends the wire when it is full.

use super::frame::{HEADER, Header, Kind, MAX_FRAME, MAX_PAYLOAD, broken};
use crate::wire::proto::{self, Open};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::task::Waker;

/// Streams that the other side may have open at once.
pub const MAX_STREAMS: usize = 1024;
/// Streams beyond those whose refusals wait to be sent. More is no accident: the other side does not listen to them.
const MAX_REFUSED: usize = 4 * MAX_STREAMS;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    No,
    Wanted,
    Sent,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Control and terminal go before everything else.
    urgent: bool,
    window: usize,
    received: VecDeque<u8>,
    /// What the other side may still send.
    allowed: usize,
    /// What was read here and not yet given back as credit.
    read: usize,
    peer_fin: bool,
    unsent: VecDeque<u8>,
    credit: usize,
    fin: Fin,
    opening: Option<Vec<u8>>,
    reset_wanted: bool,
    /// Reset by either side: nothing more will come or go.
    reset: bool,
    dropped: bool,
    queued: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Stream {
    fn new(open: &Open, opening: Option<Vec<u8>>) -> Stream {
        let window = window(open);
        Stream {
            urgent: matches!(open, Open::Control | Open::Terminal),
            window,
            received: VecDeque::new(),
            allowed: window,
            read: 0,
            peer_fin: false,
            unsent: VecDeque::new(),
            credit: window,
            fin: Fin::No,
            opening,
            reset_wanted: false,
            reset: false,
            dropped: false,
            queued: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }

    /// Not with its opening: those are in the order of their numbers, or the other side takes them for used.
    fn goes_first(&self) -> bool {
        self.urgent && self.opening.is_none()
    }

    fn has_credit_to_give(&self) -> bool {
        !self.peer_fin && !self.dropped && self.read * 4 >= self.window
    }

    /// A reset waits behind what was finished and is still to be sent.
    fn may_reset(&self) -> bool {
        self.reset_wanted && self.fin != Fin::Wanted
    }

    fn wants_to_send(&self) -> bool {
        self.opening.is_some()
            || self.may_reset()
            || self.has_credit_to_give()
            || (!self.unsent.is_empty() && self.credit > 0)
            || (self.fin == Fin::Wanted && self.unsent.is_empty())
    }

    fn is_over(&self) -> bool {
        let done = self.reset || (self.peer_fin && self.fin == Fin::Sent);
        self.dropped && done && !self.reset_wanted && self.opening.is_none()
    }
}

/// Bytes that may be under way on such a stream. Connections get less: there can be a thousand of them.
fn window(open: &Open) -> usize {
    match open {
        Open::Dial(_) => 128 << 10,
        _ => 256 << 10,
    }
}

/// All streams, and what is under way between them and the wire.
#[derive(Debug)]
pub(super) struct Core {
    next_id: u32,
    last_peer_id: u32,
    peer_streams: usize,
    streams: HashMap<u32, Stream>,
    opened: VecDeque<(Open, u32)>,
    refused: VecDeque<u32>,
    urgent: VecDeque<u32>,
    bulk: VecDeque<u32>,
    header: [u8; HEADER],
    header_len: usize,
    frame: Option<Header>,
    payload: Vec<u8>,
    ended: Option<io::ErrorKind>,
    acceptor: Option<Waker>,
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
            urgent: VecDeque::new(),
            bulk: VecDeque::new(),
            header: [0; HEADER],
            header_len: 0,
            frame: None,
            payload: Vec::new(),
            ended: None,
            acceptor: None,
            driver: None,
        }
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
        self.streams.insert(id, Stream::new(open, Some(payload)));
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
        let ended = self.ended;
        let stream = self.streams.get_mut(&id)?;
        let n = room.min(stream.received.len());
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

    fn queue(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.queued || !stream.wants_to_send() {
            return;
        }
        stream.queued = true;
        if stream.goes_first() { &mut self.urgent } else { &mut self.bulk }.push_back(id);
        self.driver.take().into_iter().for_each(Waker::wake);
    }

    fn forget_if_over(&mut self, id: u32) {
        if self.streams.get(&id).is_some_and(Stream::is_over) {
            self.streams.remove(&id);
            if id % 2 != self.next_id % 2 {
                self.peer_streams -= 1;
            }
        }
    }

    /// Appends at most one write's worth of frames to `out`, urgent streams first, the others in turn.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>) {
        while out.len() + HEADER + 4 <= MAX_FRAME {
            if let (true, Some(stream)) = (self.urgent.is_empty(), self.refused.pop_front()) {
                out.extend_from_slice(&Header { stream, kind: Kind::Reset, len: 0 }.encode());
                continue;
            }
            let Some(id) = self.urgent.pop_front().or_else(|| self.bulk.pop_front()) else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.queued = false;
            if !stream.emit(id, out) {
                // It did not fit: first in the next write.
                stream.queued = true;
                if stream.goes_first() { &mut self.urgent } else { &mut self.bulk }.push_front(id);
                return;
            }
            self.queue(id);
            self.forget_if_over(id);
        }
    }

    /// Takes in bytes from the other side.
    ///
    /// # Errors
    /// When they break the protocol; the wire is then of no more use.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Some(frame) = self.frame else {
                let n = bytes.len().min(HEADER - self.header_len);
                self.header[self.header_len..self.header_len + n].copy_from_slice(&bytes[..n]);
                self.header_len += n;
                bytes = &bytes[n..];
                if self.header_len == HEADER {
                    self.begin(Header::decode(self.header)?)?;
                }
                continue;
            };
            let n = bytes.len().min(frame.len);
            self.take(frame, &bytes[..n])?;
            bytes = &bytes[n..];
            self.advance(frame, n)?;
        }
        Ok(())
    }

    /// Whether the bytes fed so far end between two frames.
    pub(super) fn at_boundary(&self) -> bool {
        self.header_len == 0 && self.frame.is_none()
    }

    fn begin(&mut self, frame: Header) -> io::Result<()> {
        self.header_len = 0;
        let ours = frame.stream % 2 == self.next_id % 2;
        let known =
            frame.stream != 0 && if ours { frame.stream < self.next_id } else { frame.stream <= self.last_peer_id };
        match frame.kind {
            Kind::Open if ours || frame.stream <= self.last_peer_id => {
                return Err(broken("a stream id that is not free"));
            }
            Kind::Open => {}
            _ if !known => return Err(broken("a frame for a stream that was never opened")),
            _ => {}
        }
        if frame.kind == Kind::Data {
            self.charge(frame)?;
        }
        self.frame = Some(frame);
        self.advance(frame, 0)
    }

    /// Takes a data frame's length off what the other side may send.
    fn charge(&mut self, frame: Header) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        if stream.peer_fin || frame.len == 0 {
            return Err(broken("data behind the end of a stream, or none"));
        }
        stream.allowed = stream.allowed.checked_sub(frame.len).ok_or_else(|| broken("more data than was allowed"))?;
        Ok(())
    }

    fn take(&mut self, frame: Header, bytes: &[u8]) -> io::Result<()> {
        if frame.kind != Kind::Data {
            self.payload.extend_from_slice(bytes);
            return Ok(());
        }
        // Bytes for a stream that we have dropped or forgotten were under way when it went.
        if let Some(stream) = self.streams.get_mut(&frame.stream).filter(|s| !s.dropped) {
            stream.received.extend(bytes);
            stream.reader.take().into_iter().for_each(Waker::wake);
        }
        Ok(())
    }

    fn advance(&mut self, frame: Header, n: usize) -> io::Result<()> {
        let left = frame.len - n;
        if left > 0 {
            self.frame = Some(Header { len: left, ..frame });
            return Ok(());
        }
        self.frame = None;
        let payload = std::mem::take(&mut self.payload);
        self.complete(frame, &payload)
    }

    fn complete(&mut self, frame: Header, payload: &[u8]) -> io::Result<()> {
        if frame.kind == Kind::Open {
            return self.peer_open(frame.stream, payload);
        }
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        match frame.kind {
            Kind::Open | Kind::Data => {}
            Kind::Credit => {
                let more = payload.try_into().map(u32::from_le_bytes).unwrap_or(0) as usize;
                stream.credit += more;
                if stream.credit > stream.window {
                    return Err(broken("more credit than the window"));
                }
                stream.writer.take().into_iter().for_each(Waker::wake);
                self.queue(frame.stream);
            }
            Kind::Fin => {
                stream.peer_fin = true;
                stream.reader.take().into_iter().for_each(Waker::wake);
            }
            Kind::Reset => {
                stream.reset = true;
                stream.reset_wanted = false;
                stream.opening = None;
                stream.unsent = VecDeque::new();
                stream.wake();
            }
        }
        self.forget_if_over(frame.stream);
        Ok(())
    }

    fn peer_open(&mut self, id: u32, payload: &[u8]) -> io::Result<()> {
        let open: Open = proto::decode(payload)?;
        self.last_peer_id = id;
        if self.peer_streams >= MAX_STREAMS {
            // Whatever comes for it is ignored, as for every stream that is over.
            self.refused.push_back(id);
            self.driver.take().into_iter().for_each(Waker::wake);
            return if self.refused.len() > MAX_REFUSED { Err(broken("too many streams")) } else { Ok(()) };
        }
        self.peer_streams += 1;
        self.streams.insert(id, Stream::new(&open, None));
        self.opened.push_back((open, id));
        self.acceptor.take().into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl Stream {
    /// Appends what this stream has to say now; `false` when it needs more room than is left.
    fn emit(&mut self, id: u32, out: &mut Vec<u8>) -> bool {
        let put = |out: &mut Vec<u8>, kind, payload: &[u8]| {
            out.extend_from_slice(&Header { stream: id, kind, len: payload.len() }.encode());
            out.extend_from_slice(payload);
        };
        if let Some(opening) = self.opening.take() {
            if out.len() + HEADER + opening.len() > MAX_FRAME {
                self.opening = Some(opening);
                return false;
            }
            put(out, Kind::Open, &opening);
        } else if self.has_credit_to_give() {
            self.allowed += self.read;
            put(out, Kind::Credit, &u32::try_from(self.read).unwrap_or(u32::MAX).to_le_bytes());
            self.read = 0;
        } else if !self.unsent.is_empty() && self.credit > 0 && !self.reset {
            let n = self.unsent.len().min(self.credit).min(MAX_FRAME - HEADER - out.len());
            out.extend_from_slice(&Header { stream: id, kind: Kind::Data, len: n }.encode());
            let (front, back) = self.unsent.as_slices();
            let first = n.min(front.len());
            out.extend_from_slice(&front[..first]);
            out.extend_from_slice(&back[..n - first]);
            self.unsent.drain(..n);
            self.credit -= n;
            self.writer.take().into_iter().for_each(Waker::wake);
        } else if self.fin == Fin::Wanted && self.unsent.is_empty() {
            put(out, Kind::Fin, &[]);
            self.fin = Fin::Sent;
        } else if self.may_reset() {
            put(out, Kind::Reset, &[]);
            self.reset_wanted = false;
            self.reset = true;
        }
        true
    }
}
