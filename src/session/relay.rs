//! Between our own streams and those of the wire.
//!
//! Our streams belong to whoever started us and may be shared, so they stay in the mode that they are in: threads read
//! and write them blockingly.

use crate::screen::{Clipboard, Filter};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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
pub(crate) async fn receive(from: impl AsyncRead + Unpin, to: OwnedFd) -> io::Result<()> {
    receive_through(from, to, |chunk| chunk, &Arc::default()).await
}

/// The same for a terminal, to which not everything may be written.
pub(crate) async fn receive_screen(from: impl AsyncRead + Unpin, to: OwnedFd, mut screen: Screen) -> io::Result<()> {
    let shown = Arc::clone(&screen.shown);
    receive_through(from, to, |chunk| screen.pass(&chunk), &shown).await
}

/// A terminal's output on its way.
pub(crate) struct Screen {
    filter: Filter,
    /// Whether our terminal adds the carriage return that the guest's has added already.
    cooked: Arc<AtomicBool>,
    /// One that may be such, until its next byte is known.
    held: bool,
    /// Counts what came from the guest and is written.
    shown: Arc<AtomicU64>,
}

/// Copies to the clipboard that were denied.
static DENIED_COPIES: AtomicU32 = AtomicU32::new(0);

/// How many copies to the clipboard were denied in this process.
pub fn denied_copies() -> u32 {
    DENIED_COPIES.load(Ordering::Relaxed)
}

impl Screen {
    pub(crate) fn new(clipboard: Clipboard, cooked: Arc<AtomicBool>, shown: Arc<AtomicU64>) -> Screen {
        Screen { filter: Filter::new(clipboard), cooked, held: false, shown }
    }

    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        self.filter.feed(bytes, &mut out);
        DENIED_COPIES.store(self.filter.denied_copies(), Ordering::Relaxed);
        match self.cooked.load(Ordering::Relaxed) || self.held {
            true => self.without_returns(&out),
            false => out,
        }
    }

    fn without_returns(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if std::mem::take(&mut self.held) && *byte != b'\n' {
                out.push(b'\r');
            }
            match byte {
                b'\r' => self.held = true,
                _ => out.push(*byte),
            }
        }
        out
    }
}

async fn receive_through(
    mut from: impl AsyncRead + Unpin,
    to: OwnedFd,
    through: impl FnMut(Vec<u8>) -> Vec<u8>,
    written: &Arc<AtomicU64>,
) -> io::Result<()> {
    let (send, mut receive) = mpsc::channel::<(Vec<u8>, usize)>(AHEAD);
    let written = Arc::clone(written);
    let mut to = File::from(to);
    let writer = tokio::task::spawn_blocking(move || {
        while let Some((chunk, of)) = receive.blocking_recv() {
            write_all(&mut to, &chunk)?;
            written.fetch_add(of as u64, Ordering::Release);
        }
        Ok(())
    });
    let copied = copy(&mut from, send, through).await;
    writer.await.map_err(io::Error::other)?.and(copied)
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: mpsc::Sender<(Vec<u8>, usize)>,
    mut through: impl FnMut(Vec<u8>) -> Vec<u8>,
) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = from.read_buf(&mut chunk).await?;
        if read == 0 || to.send((through(chunk), read)).await.is_err() {
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
