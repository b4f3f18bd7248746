//! Streams that end as the wire's do: a half-close with `shutdown`, a reset when an end is dropped unfinished.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// One end of a stream.
pub(crate) struct Stream {
    io: DuplexStream,
    reset: Arc<AtomicBool>,
    read_all: bool,
    wrote_all: bool,
}

/// Both ends of a stream with the wire's usual window.
pub(crate) fn pair() -> (Stream, Stream) {
    let (near, far) = duplex(256 << 10);
    let reset = Arc::new(AtomicBool::new(false));
    let end = |io| Stream { io, reset: reset.clone(), read_all: false, wrote_all: false };
    (end(near), end(far))
}

impl Stream {
    fn check(&self) -> io::Result<()> {
        if self.reset.load(SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !(self.read_all && self.wrote_all) {
            self.reset.store(true, SeqCst);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.check()?;
        self.read_all |= buf.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wrote_all = true;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
