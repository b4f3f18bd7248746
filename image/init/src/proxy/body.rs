//! The client's side of a connection, behind the head of its request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Reads what was read behind the head already, then the client, and of both no more than belongs to the request. What
/// follows, a pipelined request, is for another server perhaps: it is swallowed, and the client sends it again after
/// `Connection: close`. The end of the client's direction is passed on.
pub(super) struct Body<'a> {
    tcp: &'a mut TcpStream,
    rest: Vec<u8>,
    left: u64,
}

impl<'a> Body<'a> {
    /// `rest` was read behind the head; `len` bytes belong to the request.
    pub(super) fn new(tcp: &'a mut TcpStream, rest: Vec<u8>, len: u64) -> Self {
        Body { tcp, rest, left: len }
    }
}

impl AsyncRead for Body<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            if self.rest.is_empty() {
                ready!(Pin::new(&mut *self.tcp).poll_read(cx, buf))?;
            } else {
                let some = self.rest.len().min(buf.remaining());
                buf.put_slice(&self.rest[..some]);
                self.rest.drain(..some);
            }
            let read = buf.filled().len() - start;
            let ours = usize::try_from(self.left).unwrap_or(usize::MAX).min(read);
            buf.set_filled(start + ours);
            self.left -= ours as u64;
            if ours > 0 || read == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Body<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp).poll_shutdown(cx)
    }
}
