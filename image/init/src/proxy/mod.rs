//! The doors of the guest's network: an HTTP proxy, a SOCKS proxy, and ports that lead to one fixed place. Each connection becomes a
//! stream on the wire; the host dials or refuses.

mod body;
pub(crate) mod carry;
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
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use vmclaude_init::wire::crowd::Crowd;
use vmclaude_init::wire::mux::{MAX_STREAMS, Stream, Wire};
use vmclaude_init::wire::pipe::{copy, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections of all doors at one time; more wait in the kernel's queue. Half of what the wire allows: a stream that has
/// ended here counts on the host until word of it gets there, and names and datagrams need streams too. The host makes fewer,
/// so that it decides which of them wait.
static ROOM: Semaphore = Semaphore::const_new(MAX_STREAMS / 2);
/// Clients of the proxies that have not said what they want, wait for room, or are told that there is nothing for them.
static HEADS: Crowd = Crowd::new(256);
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

/// A door at `addr`. Two hundred clients may knock at once: the usual queue of 128 would make some of them wait a second.
///
/// # Errors
/// The system's, such as an address in use.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    // Every connection to it has this too.
    socket.set_nodelay(true)?;
    carry::keep_little(&socket)?;
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

/// Carries every connection to `listener` to one fixed target, before the host has dialled it, which saves the way there and
/// back; what the host refuses is reset.
///
/// # Errors
/// When the listener cannot be waited for.
pub(crate) async fn forward(listener: TcpListener, target: Target, wire: Wire) -> io::Result<()> {
    pass(listener, Open::Caught(target), wire).await
}

/// Carries every connection to `listener` to what `open` means on the host.
///
/// # Errors
/// When the listener cannot be waited for.
pub(crate) async fn pass(listener: TcpListener, open: Open, wire: Wire) -> io::Result<()> {
    let begin = |tcp| {
        let stream = carry::open(&tcp, &open, &wire).ok()?;
        Some(carry::rest(tcp, stream))
    };
    carry::each(listener.into_std()?, begin).await
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
async fn each<T: Future<Output = ()> + Send + 'static>(listener: TcpListener, handle: impl Fn(TcpStream) -> T) -> ! {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => drop(tokio::spawn(handle(tcp))),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// What a client of a proxy asks for, once there is room for its connection. Clients that do not say it are in nobody's
/// way: when there are many, the oldest is given up, and its connection with it.
async fn asked<T>(request: impl Future<Output = T>) -> Option<(Option<T>, SemaphorePermit<'static>)> {
    let attempt = async {
        let request = timeout(HEAD_TIME, request).await.ok();
        // The semaphore is never closed.
        Some((request, ROOM.acquire().await.ok()?))
    };
    HEADS.attempt(attempt).await.flatten()
}

/// One connection to the proxy: one request, then bytes until both sides have ended.
async fn proxy(mut tcp: TcpStream, wire: Wire) {
    let Some((read, place)) = asked(request::read(&mut tcp)).await else { return reset(tcp) };
    let bad = match read {
        Some(Ok(request)) => match dial(&wire, request.target.clone()).await {
            Ok(Ok(stream)) => return carry_on(tcp, stream, request).await,
            Ok(Err(why)) => request.refused(why),
            Err(_) => Bad::LOST,
        },
        Some(Err(bad)) => bad,
        None => Bad::SLOW,
    };
    drop(place);
    farewell(tcp, &bad.response()).await;
}

/// Everything after the dial has succeeded.
async fn carry_on(mut tcp: TcpStream, mut stream: Stream, request: Request) {
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

/// Says a last word and ends the connection in good order.
async fn farewell(mut tcp: TcpStream, word: &[u8]) {
    let farewell = async {
        tcp.write_all(word).await?;
        tcp.shutdown().await?;
        // Bytes that nobody reads would turn the end into a reset, which may destroy the answer.
        tokio::io::copy(&mut tcp, &mut sink()).await
    };
    let _ = HEADS.attempt(timeout(FAREWELL, farewell)).await;
}

#[cfg(test)]
mod tests;
