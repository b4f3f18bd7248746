//! The doors of the guest's network: an HTTP proxy, a SOCKS proxy, and ports that lead to one fixed place. Each connection becomes a
//! stream on the wire; the host dials or refuses.

mod body;
pub(crate) mod request;
pub(crate) mod socks;

use body::Body;
use request::{Bad, Request};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use vmclaude_init::wire::mux::{MAX_STREAMS, Stream, Wire};
use vmclaude_init::wire::pipe::{copy, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections of all doors at one time; more wait in the kernel's queue. Half of what the wire allows: a stream that has
/// ended here counts on the host until word of it gets there, and names and datagrams need streams too.
static ROOM: Semaphore = Semaphore::const_new(MAX_STREAMS / 2);
/// How long a client may take to send the head of its request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The pause after a failed accept: it fails for want of descriptors, which come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client is listened to after it was refused, so that it reads the answer before it meets a reset.
const FAREWELL: Duration = Duration::from_secs(2);

/// Asks the host for a connection: a stream of raw bytes, or the host's reason against it.
///
/// # Errors
/// When the wire has ended, or the host ends the stream without an answer.
pub(crate) async fn dial(wire: &Wire, target: Target) -> io::Result<Result<Stream, Dialled>> {
    let mut stream = wire.open(&Open::Dial(target))?;
    match proto::receive(&mut stream, proto::MAX_TO_GUEST).await? {
        Some(Dialled::Ok) => Ok(Ok(stream)),
        Some(why) => {
            // An orderly end; the answer is known whether or not it works.
            let _ = stream.shutdown().await;
            Ok(Err(why))
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Carries a connection whose client has been told already that it is connected: what it says is on its way before the host
/// has dialled, which saves the way there and back. A refusal is a reset.
pub(crate) async fn dial_and_carry(mut tcp: TcpStream, target: Target, wire: &Wire) {
    let Ok(mut stream) = wire.open(&Open::Caught(target)) else { return reset(tcp) };
    if copy(&mut tcp, &mut stream).await.is_err() {
        reset(tcp);
    }
}

/// A door at `addr`. Two hundred clients may knock at once: the usual queue of 128 would make some of them wait a second.
///
/// # Errors
/// The system's, such as an address in use.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

/// Serves the HTTP proxy on `listener` for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, wire: Wire) {
    each(listener, |tcp| proxy(tcp, wire.clone())).await;
}

/// Serves the SOCKS proxy on `listener` for as long as it is polled.
pub(crate) async fn serve_socks(listener: TcpListener, wire: Wire) {
    each(listener, |tcp| socks::serve(tcp, wire.clone())).await;
}

/// Carries every connection to `listener` to one fixed target; what the host refuses is reset.
pub(crate) async fn forward(listener: TcpListener, target: Target, wire: Wire) {
    each(listener, |tcp| {
        let (wire, target) = (wire.clone(), target.clone());
        async move { dial_and_carry(tcp, target, &wire).await }
    })
    .await;
}

/// Carries every connection to `listener` to what `open` means on the host.
pub(crate) async fn pass(listener: TcpListener, open: Open, wire: Wire) {
    each(listener, |mut tcp| {
        let stream = wire.open(&open);
        async move {
            let Ok(mut stream) = stream else { return reset(tcp) };
            if copy(&mut tcp, &mut stream).await.is_err() {
                reset(tcp);
            }
        }
    })
    .await;
}

/// The same for a socket of the guest's file system.
pub(crate) async fn pass_local(listener: UnixListener, open: Open, wire: Wire) {
    while let Ok(place) = ROOM.acquire().await {
        let Ok((mut local, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let stream = wire.open(&open);
        tokio::spawn(async move {
            if let Ok(mut stream) = stream {
                // However it ends, the program sees the end of its connection.
                let _ = copy(&mut local, &mut stream).await;
            }
            drop(place);
        });
    }
}

/// Accepts for ever, and runs what `handle` makes of each connection in a task of its own.
pub(crate) async fn each<T: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    handle: impl Fn(TcpStream) -> T,
) {
    // The semaphore is never closed, so this loop only ends with its future.
    while let Ok(place) = ROOM.acquire().await {
        match listener.accept().await {
            Ok((tcp, _)) => {
                // Fails only for a socket that is gone, which the first read says too.
                let _ = tcp.set_nodelay(true);
                let task = handle(tcp);
                tokio::spawn(async move {
                    task.await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection to the proxy: one request, then bytes until both sides have ended.
async fn proxy(mut tcp: TcpStream, wire: Wire) {
    let request = match timeout(HEAD_TIME, request::read(&mut tcp)).await {
        Ok(Ok(request)) => request,
        Ok(Err(bad)) => return refuse(tcp, &bad).await,
        Err(_) => return refuse(tcp, &Bad::SLOW).await,
    };
    match dial(&wire, request.target.clone()).await {
        Ok(Ok(stream)) => carry(tcp, stream, request).await,
        Ok(Err(why)) => refuse(tcp, &request.refused(why)).await,
        Err(_) => refuse(tcp, &Bad::LOST).await,
    }
}

/// Everything after the dial has succeeded.
async fn carry(mut tcp: TcpStream, mut stream: Stream, request: Request) {
    let carried = async {
        tcp.write_all(request.reply).await?;
        stream.write_all(&request.head).await?;
        stream.flush().await?;
        let mut client = Body::new(&mut tcp, request.rest, request.body);
        copy(&mut client, &mut stream).await
    };
    if carried.await.is_err() {
        reset(tcp);
    }
}

/// Answers with an error.
async fn refuse(tcp: TcpStream, bad: &Bad) {
    farewell(tcp, &bad.response()).await;
}

/// Says a last word and ends the connection in good order.
async fn farewell(mut tcp: TcpStream, word: &[u8]) {
    let farewell = async {
        tcp.write_all(word).await?;
        tcp.shutdown().await?;
        // Bytes that nobody reads would turn the end into a reset, which may destroy the answer.
        tokio::io::copy(&mut tcp, &mut sink()).await
    };
    let _ = timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests;
