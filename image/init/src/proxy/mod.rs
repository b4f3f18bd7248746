//! The doors of the guest's network: an HTTP proxy, and ports that lead to one fixed place. Each connection becomes a
//! stream on the wire; the host dials or refuses.

mod body;
mod request;

use body::Body;
use request::{Bad, Request};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use vmclaude_init::wire::pipe::{copy, pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections of one door at one time; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How long a client may take to send the head of its request.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The pause after a failed accept: it fails for want of descriptors, which come back with time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client is listened to after it was refused, so that it reads the answer before it meets a reset.
const FAREWELL: Duration = Duration::from_secs(2);

/// Asks the host for a connection.
pub(crate) trait Dial: Clone + Send + Sync + 'static {
    /// What carries the connection's bytes. Dropped before both directions have ended, it resets the connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// A connection to `target`, or the host's reason against it. An error means that the wire itself failed.
    fn dial(&self, target: Target) -> impl Future<Output = io::Result<Result<Self::Stream, Dialled>>> + Send;
}

impl<F, A, S> Dial for F
where
    F: Fn(Target) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = io::Result<Result<S, Dialled>>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    type Stream = S;

    fn dial(&self, target: Target) -> impl Future<Output = io::Result<Result<S, Dialled>>> + Send {
        self(target)
    }
}

/// Says on a new stream of the wire what it is for, and reads the host's answer: what a [`Dial`] does once it has opened
/// a stream.
///
/// # Errors
/// When the stream fails, or ends without an answer.
pub(crate) async fn ask<S>(mut stream: S, target: Target) -> io::Result<Result<S, Dialled>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    proto::send(&mut stream, &Open::Dial(target)).await?;
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

/// Serves the HTTP proxy on `listener` for as long as it is polled.
pub(crate) async fn serve<D: Dial>(listener: TcpListener, dial: D) {
    each(listener, |tcp| {
        let dial = dial.clone();
        async move { proxy(tcp, dial).await }
    })
    .await;
}

/// Carries every connection to `listener` to one fixed target; what the host refuses is reset.
pub(crate) async fn forward<D: Dial>(listener: TcpListener, target: Target, dial: D) {
    each(listener, |tcp| {
        let (dial, target) = (dial.clone(), target.clone());
        async move {
            match dial.dial(target).await {
                Ok(Ok(wire)) => pipe(tcp, wire).await,
                Ok(Err(_)) | Err(_) => reset(tcp),
            }
        }
    })
    .await;
}

/// Accepts for ever, and runs what `handle` makes of each connection in a task of its own.
async fn each<T: Future<Output = ()> + Send + 'static>(listener: TcpListener, handle: impl Fn(TcpStream) -> T) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed, so this loop only ends with its future.
    while let Ok(place) = room.clone().acquire_owned().await {
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
async fn proxy<D: Dial>(mut tcp: TcpStream, dial: D) {
    let request = match timeout(HEAD_TIME, request::read(&mut tcp)).await {
        Ok(Ok(request)) => request,
        Ok(Err(bad)) => return refuse(tcp, &bad).await,
        Err(_) => return refuse(tcp, &Bad::SLOW).await,
    };
    match dial.dial(request.target.clone()).await {
        Ok(Ok(wire)) => carry(tcp, wire, request).await,
        Ok(Err(why)) => refuse(tcp, &request.refused(why)).await,
        Err(_) => refuse(tcp, &Bad::LOST).await,
    }
}

/// Everything after the dial has succeeded.
async fn carry(mut tcp: TcpStream, mut wire: impl AsyncRead + AsyncWrite + Unpin, request: Request) {
    let carried = async {
        tcp.write_all(request.reply).await?;
        wire.write_all(&request.head).await?;
        wire.flush().await?;
        let mut client = Body::new(&mut tcp, request.rest, request.body);
        copy(&mut client, &mut wire).await
    };
    if carried.await.is_err() {
        reset(tcp);
    }
}

/// Answers with an error and ends the connection in good order.
async fn refuse(mut tcp: TcpStream, bad: &Bad) {
    let farewell = async {
        tcp.write_all(&bad.response()).await?;
        tcp.shutdown().await?;
        // Bytes that nobody reads would turn the end into a reset, which may destroy the answer.
        tokio::io::copy(&mut tcp, &mut sink()).await
    };
    let _ = timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests;
