//! The joint between a TCP connection and a stream of the wire: the same on both sides.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;

thread_local! {
    /// What is under way from one poll to the next write within it. Connections have no buffer of their own: most of them
    /// wait, and a buffer for each would have to be made, cleared and given back.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Carries bytes between `tcp` and a stream of the wire until both directions have ended. The end of one direction is
/// passed on as a half-close and leaves the other one open; a reset of either side becomes a reset of the other. So does an end of
/// all this, as when the wire is lost, while bytes wait for the socket: an orderly end would hide that they are missing.
pub async fn pipe(tcp: TcpStream, mut wire: impl AsyncRead + AsyncWrite + Unpin) {
    let mut joint = Joint { tcp, ways: Ways::default(), failed: false };
    joint.failed = poll_fn(|cx| joint.ways.poll(cx, &mut joint.tcp, &mut wire)).await.is_err();
}

/// A connection that is carried.
struct Joint {
    tcp: TcpStream,
    ways: Ways,
    failed: bool,
}

impl Drop for Joint {
    fn drop(&mut self) {
        if self.failed || !self.ways.back.left.is_empty() {
            let _ = self.tcp.set_zero_linger();
        }
    }
}

/// As [`pipe`], for a caller that puts something between the socket and the wire. After an error the caller owes both
/// sides a reset: [`reset`] for the socket, and to drop the wire's stream as it is.
///
/// # Errors
/// The first of either side; the other direction is then given up too.
pub async fn copy(
    near: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    wire: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
) -> io::Result<()> {
    let mut ways = Ways::default();
    poll_fn(|cx| ways.poll(cx, near, wire)).await
}

/// Both directions.
#[derive(Default)]
struct Ways {
    out: Way,
    back: Way,
}

impl Ways {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        near: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
        wire: &mut (impl AsyncRead + AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<()>> {
        let out = self.out.poll(cx, near, wire)?;
        let back = self.back.poll(cx, wire, near)?;
        if out.is_ready() && back.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, and not yet taken by the writer.
    left: Vec<u8>,
    ended: bool,
    closed: bool,
}

impl Way {
    /// Moves what can be moved; ready once the end was passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin + ?Sized),
        to: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            while !self.left.is_empty() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.left))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.left.drain(..n);
            }
            self.left = Vec::new();
            ready!(SCRATCH.with_borrow_mut(|scratch| self.step(cx, scratch, from, to)))?;
        }
        if !self.closed {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.closed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and a write of what it gave.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        from: &mut (impl AsyncRead + Unpin + ?Sized),
        to: &mut (impl AsyncWrite + Unpin + ?Sized),
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(n) => self.left.extend_from_slice(&bytes[n?..]),
            Poll::Pending => self.left.extend_from_slice(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

/// Ends a connection with a reset instead of an orderly end, so that a program on it sees that something was lost.
pub fn reset(tcp: TcpStream) {
    // It fails only for a socket that is gone already.
    let _ = tcp.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A connection that is carried: its other end, the wire's other end, and who carries it.
    async fn carried() -> (TcpStream, DuplexStream, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connects");
        let (peer, _) = listener.accept().await.expect("accepts");
        let (wire, far) = duplex(CHUNK);
        (peer, far, tokio::spawn(pipe(near, wire)))
    }

    /// Until the end of what comes.
    async fn heard(mut peer: TcpStream) -> io::Result<usize> {
        timeout(LIMIT, peer.read_to_end(&mut Vec::new())).await.expect("in time")
    }

    #[tokio::test]
    async fn an_end_of_everything_is_a_reset_where_bytes_are_missing_and_else_an_orderly_end() {
        let (peer, mut far, carrier) = carried().await;
        // Until nobody takes any more: the peer does not read.
        while timeout(Duration::from_millis(500), far.write_all(&[7; CHUNK])).await.is_ok() {}
        carrier.abort();
        let _ = carrier.await;
        assert_eq!(heard(peer).await.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));

        let (mut peer, mut far, carrier) = carried().await;
        far.write_all(b"all").await.expect("write");
        assert_eq!(timeout(LIMIT, peer.read_exact(&mut [0; 3])).await.expect("in time").expect("comes"), 3);
        carrier.abort();
        let _ = carrier.await;
        assert_eq!(heard(peer).await.map_err(|e| e.kind()), Ok(0));
    }
}
