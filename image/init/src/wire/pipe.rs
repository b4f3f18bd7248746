//! The joint between a TCP connection and a stream of the wire: the same on both sides.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

/// Bytes in flight per direction. Large enough that a bulk transfer costs few system calls, small enough that a
/// thousand connections stay below 64 MiB.
const BUFFER: usize = 32 << 10;

/// Carries bytes between `tcp` and a stream of the wire until both directions have ended. The end of one direction is
/// passed on as a half-close and leaves the other one open; a reset of either side becomes a reset of the other.
pub async fn pipe(mut tcp: TcpStream, mut wire: impl AsyncRead + AsyncWrite + Unpin) {
    if copy(&mut tcp, &mut wire).await.is_err() {
        reset(tcp);
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
    copy_bidirectional_with_sizes(near, wire, BUFFER, BUFFER).await.map(drop)
}

/// Ends a connection with a reset instead of an orderly end, so that a program on it sees that something was lost.
pub fn reset(tcp: TcpStream) {
    // It fails only for a socket that is gone already.
    let _ = tcp.set_zero_linger();
}
