//! Streams with flow control over one byte stream.
//!
//! [`Wire::drive`] moves the bytes, [`Wire::open`] and [`Wire::accept`] hand out [`Stream`]s. A half-close is
//! `shutdown()`. A stream dropped before both directions ended is reset, and the other side reads and writes
//! [`io::ErrorKind::ConnectionReset`] behind what had been sent before. Streams of the terminal and the control stream
//! go first whenever there is something to choose.

mod core;
mod decode;
mod frame;
mod pace;
mod ring;
#[cfg(test)]
mod ring_tests;
mod stream;
#[cfg(test)]
mod tests;
mod turns;
#[cfg(test)]
mod turns_tests;

use self::core::Core;
pub use self::core::{MAX_STREAMS, Side};
pub use self::ring::Memory;
use self::ring::Ring;
use super::proto::{HELLO_LEN, Open, hello, version_of};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The host's half of the greeting: it speaks first, and hears which version the guest speaks.
///
/// # Errors
/// When the stream ends or the other side says no hello.
pub async fn greet(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<u16> {
    say(io).await?;
    hear(io).await
}

/// The guest's half: it says nothing before it was spoken to, so that a guest that waits can be saved and copied, and
/// each copy answers its own host.
///
/// # Errors
/// As [`greet`].
pub async fn answer(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<u16> {
    let version = hear(io).await?;
    say(io).await?;
    Ok(version)
}

async fn say(io: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    io.write_all(&hello()).await?;
    io.flush().await
}

async fn hear(io: &mut (impl AsyncRead + Unpin)) -> io::Result<u16> {
    let mut theirs = [0; HELLO_LEN];
    io.read_exact(&mut theirs).await?;
    version_of(&theirs)
}

/// One side of the wire; clones are the same wire.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<Core>>);

impl Wire {
    /// A wire that nothing moves yet.
    pub fn new(side: Side) -> Wire {
        Wire(Arc::new(Mutex::new(Core::new(side))))
    }

    /// Opens a stream. Its head goes out at once, also when nothing is written.
    ///
    /// # Errors
    /// When the wire has ended or 2^31 streams were opened.
    pub fn open(&self, what: &Open) -> io::Result<Stream> {
        self.open_with(what, &[])
    }

    /// Opens a stream with bytes that are to be sent on it, which go out with its head.
    ///
    /// # Errors
    /// As [`Wire::open`], and when they are more than a stream takes without waiting (64 KiB).
    pub fn open_with(&self, what: &Open, bytes: &[u8]) -> io::Result<Stream> {
        let mut core = self.core();
        let id = core.open(what)?;
        let stream = Stream { id, wire: self.clone() };
        let taken = if bytes.is_empty() { Some(Ok(0)) } else { core.write(id, bytes, Waker::noop()) };
        // Where it failed, the stream that is dropped here takes the lock itself.
        drop(core);
        match taken {
            Some(Ok(n)) if n == bytes.len() => Ok(stream),
            Some(Err(e)) => Err(e),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "more than a stream takes at once")),
        }
    }

    /// The next stream that the other side opens.
    ///
    /// # Errors
    /// When the wire has ended.
    pub async fn accept(&self) -> io::Result<(Open, Stream)> {
        let (open, id) = poll_fn(|cx| match self.core().accept(cx.waker()) {
            Some(next) => Poll::Ready(next),
            None => Poll::Pending,
        })
        .await?;
        Ok((open, Stream { id, wire: self.clone() }))
    }

    /// Takes out of `memory` from now on what the other side puts there. Until [`Wire::use_memory`] nothing is put there by
    /// us: first the other side has to look there too.
    pub fn share_memory(&self, memory: Box<dyn Memory>) {
        let mut core = self.core();
        // The guest's half is the first.
        let first = core.side() == Side::Guest;
        core.ring = Some(Ring::new(memory, first));
    }

    /// Sends what is long through the memory that is shared, now that the other side looks there.
    pub fn use_memory(&self) {
        self.core().ring.iter_mut().for_each(Ring::open);
    }

    /// Moves bytes between the streams and `io` until `io` ends. Everybody who waits on a stream then gets an error.
    ///
    /// # Errors
    /// When `io` fails, ends inside a frame, or carries anything that breaks the protocol.
    pub async fn drive(&self, io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut driver =
            Driver { wire: self, io, out: Vec::new(), sent: 0, input: vec![0; 64 << 10].into_boxed_slice() };
        let result = poll_fn(|cx| driver.poll(cx)).await;
        let kind = result.as_ref().err().map_or(io::ErrorKind::UnexpectedEof, io::Error::kind);
        self.core().end(kind);
        result
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Driver<'a, T> {
    wire: &'a Wire,
    io: T,
    out: Vec<u8>,
    sent: usize,
    input: Box<[u8]>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<'_, T> {
    /// Writes and reads in turn, so that neither direction starves the other, and not for so long that both starve those who use
    /// the streams.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.core().next_round() {
            cx.waker().wake_by_ref();
        }
        loop {
            if self.wire.core().has_fed_enough() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let wrote = self.write(cx)?;
            match self.read(cx)? {
                Poll::Ready(0) if self.wire.core().at_boundary() => return Poll::Ready(Ok(())),
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Pending if wrote.is_pending() => return Poll::Pending,
                _ => {}
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            let mut core = self.wire.core();
            core.fill(&mut self.out);
            if self.out.is_empty() {
                core.driver = Some(cx.waker().clone());
                return Ok(Poll::Pending);
            }
        }
        match Pin::new(&mut self.io).poll_write(cx, &self.out[self.sent..]) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => {
                self.sent += n?;
                Ok(Poll::Ready(()))
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let mut buffer = ReadBuf::new(&mut self.input);
        match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
            Poll::Ready(result) => {
                result?;
                self.wire.core().feed(buffer.filled())?;
                Ok(Poll::Ready(buffer.filled().len()))
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

/// A stream of the wire. Dropping it ends it; see the module.
pub struct Stream {
    id: u32,
    wire: Wire,
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        match self.wire.core().read(self.id, room, |bytes| buf.put_slice(bytes), cx.waker()) {
            Some(result) => Poll::Ready(result.map(drop)),
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.wire.core().write(self.id, buf, cx.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.wire.core().flushed(self.id, cx.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.core().finish(self.id);
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.wire.core().drop_stream(self.id);
    }
}
