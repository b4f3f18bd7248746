//! Between our own streams and those of the wire.
//!
//! Our streams belong to whoever started us and may be shared, so they stay in the mode that they are in: threads read
//! and write them blockingly.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes read or written at a time.
const CHUNK: usize = 64 << 10;
/// Chunks under way between a thread and the wire.
const AHEAD: usize = 4;

/// Sends what `from` gives until it ends or the guest wants no more.
pub(crate) async fn send(from: OwnedFd, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut chunks = reader(File::from(from));
    while let Some(chunk) = chunks.recv().await {
        to.write_all(&chunk).await?;
    }
    to.shutdown().await
}

/// A thread that reads, ahead of its receiver by very little, so that what the guest does not read is left to others.
fn reader(mut from: File) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) if send.blocking_send(buffer[..n].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait(&from, PollFlags::POLLIN),
                Err(_) => return,
            }
        }
    });
    receive
}

/// Writes what the guest sends to `to`, until the guest ends or nobody reads `to` any more.
pub(crate) async fn receive(mut from: impl AsyncRead + Unpin, to: OwnedFd) -> io::Result<()> {
    let (send, mut receive) = mpsc::channel::<Vec<u8>>(AHEAD);
    let mut to = File::from(to);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = receive.blocking_recv() {
            write_all(&mut to, &chunk)?;
        }
        Ok(())
    });
    let copied = copy(&mut from, send).await;
    writer.await.map_err(io::Error::other)?.and(copied)
}

async fn copy(from: &mut (impl AsyncRead + Unpin), to: mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if from.read_buf(&mut chunk).await? == 0 || to.send(chunk).await.is_err() {
            return Ok(());
        }
    }
}

fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Somebody else made the shared description non-blocking.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait(&*to, PollFlags::POLLOUT),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn wait(fd: impl AsFd, what: PollFlags) {
    let _ = poll(&mut [PollFd::new(fd.as_fd(), what)], PollTimeout::NONE);
}
