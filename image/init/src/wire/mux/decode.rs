//! The receiving half: bytes of the other side become changes of streams, or the end of the wire.

use super::core::{Core, MAX_REFUSED, MAX_STREAMS};
use super::frame::{HEADER, Header, Kind, PIECE, broken};
use super::ring::Ring;
use super::stream::Stream;
use crate::wire::proto::{self, Open};
use std::collections::VecDeque;
use std::io;
use std::task::Waker;

impl Core {
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
            Kind::Taken if frame.stream == 0 => {}
            Kind::Taken => return Err(broken("pieces that a stream has taken")),
            _ if !known => return Err(broken("a frame for a stream that was never opened")),
            _ => {}
        }
        if frame.kind == Kind::Data {
            self.charge(frame.stream, frame.len)?;
        }
        self.frame = Some(frame);
        self.advance(frame, 0)
    }

    /// Takes so many bytes off what the other side may send.
    fn charge(&mut self, id: u32, len: usize) -> io::Result<()> {
        self.pace.fed += len;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.peer_fin || len == 0 {
            return Err(broken("data behind the end of a stream, or none"));
        }
        stream.allowed = stream.allowed.checked_sub(len).ok_or_else(|| broken("more data than was allowed"))?;
        Ok(())
    }

    /// Takes a piece out of the memory that both sides see.
    fn piece(&mut self, id: u32, payload: &[u8]) -> io::Result<()> {
        let words: [u8; PIECE] = payload.try_into().map_err(|_| broken("a frame of a wrong length"))?;
        let [at, len] =
            [0, 4].map(|n| u32::from_le_bytes([words[n], words[n + 1], words[n + 2], words[n + 3]]) as usize);
        self.charge(id, len)?;
        let Some(ring) = &mut self.ring else { return Err(broken("a piece of memory that nobody shares")) };
        let stream = self.streams.get_mut(&id).filter(|s| !s.dropped);
        match stream {
            Some(stream) => {
                ring.take(at, len, &mut |bytes| stream.received.extend(bytes))?;
                Some(&mut *ring).filter(|_| stream.keys).into_iter().for_each(Ring::key_came);
                stream.reader.take().into_iter().for_each(Waker::wake);
            }
            None => ring.take(at, len, &mut |_| {})?,
        }
        if ring.owes() {
            self.driver.take().into_iter().for_each(Waker::wake);
        }
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
            self.ring.iter_mut().filter(|_| stream.keys).for_each(Ring::key_came);
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
        match frame.kind {
            Kind::Open => return self.peer_open(frame.stream, payload),
            Kind::Piece => return self.piece(frame.stream, payload),
            Kind::Taken => {
                let count = payload.try_into().map(u32::from_le_bytes).unwrap_or(0);
                self.ring.as_mut().map_or(Err(broken("nothing could be taken")), |ring| ring.free(count))?;
                self.turns.unpark();
                return Ok(());
            }
            _ => {}
        }
        let Some(stream) = self.streams.get_mut(&frame.stream) else { return Ok(()) };
        match frame.kind {
            Kind::Open | Kind::Data | Kind::Piece | Kind::Taken => {}
            Kind::Credit => {
                let more = payload.try_into().map(u32::from_le_bytes).unwrap_or(0) as usize;
                stream.credit += more;
                if stream.credit > stream.most_credit {
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
        self.streams.insert(id, Stream::new(&open, self.side(), None));
        self.opened.push_back((open, id));
        self.acceptor.take().into_iter().for_each(Waker::wake);
        Ok(())
    }
}
