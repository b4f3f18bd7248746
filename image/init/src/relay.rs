//! Between the command's descriptors and the streams of the wire.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::Notify;

/// A descriptor that can be polled: the wire's port, a terminal, a pipe.
pub(crate) struct Async(AsyncFd<File>);

impl Async {
    /// Makes `fd` non-blocking. Only for descriptors whose file description nobody else uses.
    pub(crate) fn new(fd: impl Into<OwnedFd>) -> io::Result<Async> {
        let fd: OwnedFd = fd.into();
        let flags = nix::fcntl::OFlag::from_bits_retain(nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL)?);
        nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
        // SAFETY: a File gives the same descriptor for as long as it lives, and AsyncFd owns it.
        let registered = unsafe { AsyncFd::register(File::from(fd)) };
        registered.map(Async).map_err(|e| e.into_parts().1)
    }
}

impl AsyncRead for Async {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            if let Ok(read) = ready.try_io(|fd| fd.get_ref().read(buf.initialize_unfilled())) {
                buf.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Async {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| fd.get_ref().write(bytes)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A terminal whose output is counted and noticed: whoever writes may have changed its modes before.
pub(crate) struct Noticed(pub(crate) Async, pub(crate) Arc<Notify>, pub(crate) Arc<AtomicU64>);

impl AsyncRead for Noticed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if read.is_ready() {
            self.2.fetch_add((buf.filled().len() - before) as u64, Ordering::Release);
            self.1.notify_one();
        }
        read
    }
}

/// A terminal that counts the keys it gets.
pub(crate) struct Counted(pub(crate) Async, pub(crate) Arc<AtomicU64>);

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        if let Poll::Ready(Ok(n)) = written {
            self.1.fetch_add(n as u64, Ordering::Release);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Copies until the reader ends, then half-closes the writer.
///
/// Dropping both ends on an error is what carries it: a reader that is gone on one side resets or closes the other.
pub(crate) async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return to.shutdown().await,
            Ok(n) => to.write_all(&buffer[..n]).await?,
            // A terminal that nobody has open any more.
            Err(e) if e.raw_os_error() == Some(libc::EIO) => return to.shutdown().await,
            Err(e) => return Err(e),
        }
    }
}
