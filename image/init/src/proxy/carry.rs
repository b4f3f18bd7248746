//! Connections that are carried as they are: accepted, named and on their way to the host with as little work before that as can
//! be. Under emulation everything that is done for the first time after a change of processes is slow, so what can be
//! done while the host is busy is done then.

use super::{ACCEPT_PAUSE, ROOM};
use nix::sys::socket::{SockFlag, accept4};
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::task::Poll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::pipe;
use vmclaude_init::wire::proto::Open;

/// The most of a connection's first bytes that go out with its opening: the first message of TLS, or a request.
const FIRST: usize = 2 << 10;

/// Bytes that the kernel takes for a connection beyond those that its program has room for.
static UNSENT: libc::c_int = 128 << 10;

/// Accepts for ever, and runs what `begin` makes of each connection in a task of its own. What `begin` does itself is done
/// before anything else.
///
/// # Errors
/// When the listener cannot be waited for.
pub(crate) async fn each<T: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    begin: impl Fn(TcpStream) -> Option<T>,
) -> io::Result<()> {
    // SAFETY: a listener gives the same descriptor for as long as it lives, and AsyncFd owns it.
    let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
    let listener = registered.map_err(|e| e.into_parts().1)?;
    let mut first = true;
    // The semaphore is never closed, so this loop only ends with its future.
    while let Ok(place) = ROOM.acquire().await {
        match listener.try_io(Interest::READABLE, accept) {
            Ok(tcp) => {
                if let Some(task) = begin(tcp) {
                    tokio::spawn(async move {
                        task.await;
                        drop(place);
                    });
                }
                // Mostly it is alone, and what it said goes out before the next is looked for.
                if std::mem::take(&mut first) {
                    others_turn().await;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                drop(place);
                drop(listener.readable().await?);
                first = true;
            }
            // It fails for want of descriptors, which come back with time.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
    Ok(())
}

/// Has the kernel keep little for a program that does not read, on every connection that a listener accepts. By itself it keeps up to
/// four megabytes, so that sixty such connections take all that it gives to connections, and everybody else's wait.
pub(crate) fn keep_little(listener: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the option is an int, which lives through the call.
    let rc = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const UNSENT).cast(),
            size_of_val(&UNSENT) as libc::socklen_t,
        )
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The next connection, which nobody waits in.
fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = accept4(listener.as_raw_fd(), flags)?;
    // SAFETY: the kernel made this descriptor just now; nothing else owns it.
    Ok(TcpStream::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Opens a stream for a connection, together with what its program has said already.
///
/// # Errors
/// When the connection or the wire is gone.
pub(crate) fn open(tcp: &TcpStream, open: &Open, wire: &Wire) -> io::Result<Stream> {
    let mut first = [0; FIRST];
    let said = match { tcp }.read(&mut first) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
        said => said?,
    };
    wire.open_with(open, &first[..said])
}

/// Carries the rest.
pub(crate) async fn rest(tcp: TcpStream, stream: Stream) {
    if let Ok(tcp) = tokio::net::TcpStream::from_std(tcp) {
        pipe::pipe(tcp, stream).await;
    }
}

/// Lets every task run that can. (tokio's own looks for news of the system first, at the price of a system call.)
async fn others_turn() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
