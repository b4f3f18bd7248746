//! A stream that is used before the host has said that it is connected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vmclaude_init::wire::mux::Stream;
use vmclaude_init::wire::proto::{Dialled, encode};

/// Reads the host's answer before everything else; any but "connected" is an error of the first read.
pub(super) struct Early {
    stream: Stream,
    connected: Vec<u8>,
    seen: usize,
}

impl Early {
    /// # Errors
    /// None in practice: the answer that is waited for can be encoded.
    pub(super) fn new(stream: Stream) -> io::Result<Early> {
        Ok(Early { stream, connected: encode(&Dialled::Ok)?, seen: 0 })
    }
}

impl AsyncRead for Early {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        while me.seen < me.connected.len() {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut me.stream).poll_read(cx, &mut one))?;
            if one.filled() != &me.connected[me.seen..=me.seen] {
                return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            me.seen += 1;
        }
        Pin::new(&mut me.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Early {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
