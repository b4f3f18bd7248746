//! The multiplexer on the host's side, fed with what a guest may send, in whatever pieces, while its streams are used: it accepts
//! or refuses, and keeps within its bounds. The first two bytes say how.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, join, sink};
use vmclaude_init::wire::mux::{Memory, Side, Stream, Wire};
use vmclaude_init::wire::proto::Open;

/// Gives so many bytes at a time, and lets others have a turn in between.
struct Pieces<'a> {
    bytes: &'a [u8],
    each: usize,
    rests: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.rests = !self.rests;
        if self.rests {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (now, later) = self.bytes.split_at(self.each.min(self.bytes.len()).min(buf.remaining()));
        buf.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// Memory that the guest sees, too. Whatever is outside of it panics.
struct Shared(Vec<u8>);

impl Memory for Shared {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn put(&mut self, at: usize, parts: [&[u8]; 2]) -> io::Result<()> {
        let bytes = parts.concat();
        self.0[at..at + bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }

    fn show(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        to(&self.0[at..at + len]);
        Ok(())
    }
}

/// Reads and writes a little or much, and ends in its own way.
async fn using(mut stream: Stream, how: u8) {
    let mut bytes = vec![0; if how & 2 == 0 { 100 } else { 50_000 }];
    let _ = stream.read(&mut bytes).await;
    let _ = stream.write_all(&bytes).await;
    if how & 4 != 0 {
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut bytes).await;
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(([each, how], bytes)) = data.split_first_chunk() else { return };
    let (each, how) = (1 + usize::from(*each) * 16, *how);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        let wire = Wire::new(Side::Host);
        if how & 1 != 0 {
            wire.share_memory(Box::new(Shared(vec![7; 256 << 10])));
            wire.use_memory();
        }
        let own = [Open::Control, Open::Terminal, Open::Stdin].map(|open| wire.open(&open).expect("opens"));
        own.into_iter().for_each(|stream| drop(tokio::spawn(using(stream, how))));
        let users = wire.clone();
        tokio::spawn(async move {
            while let Ok((_, stream)) = users.accept().await {
                tokio::spawn(using(stream, how));
            }
        });
        let _ = wire.drive(join(Pieces { bytes, each, rests: false }, sink())).await;
    });
});
