//! A guest that wants everything at once: the others are still answered, and memory stays bounded.

use super::{proxy, server, tunnel, wire};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use vmclaude::net::Policy;
use vmclaude_init::wire::proto::{Dialled, MAX_TO_GUEST, Open, Target, receive};

const SOON: Duration = Duration::from_secs(60);

/// This process's memory in MiB, guest and host together; `None` where the system does not say.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kib| kib >> 10)
}

/// Ten thousand connections that nobody reads, most of them beyond every limit: the wire lives, and a new one works.
#[tokio::test]
async fn ten_thousand_at_once_are_refused_one_by_one() {
    let before = resident();
    // What it has not yet sent would count as ours.
    static MUCH: [u8; 1 << 20] = [7; 1 << 20];
    let addr = server(|mut tcp| async move {
        tcp.write_all(&MUCH).await?;
        tcp.read_u8().await.map(drop)
    })
    .await;
    let policy = Arc::new(Policy::new(vec![addr]));
    let guest = wire(&policy);
    let mut held = Vec::new();
    for n in 0..10_000u32 {
        let open = match n % 4 {
            0 | 1 => Open::Dial(Target::Addr(addr.ip(), addr.port())),
            2 => Open::Udp([10, 0, 0, 1].into(), 9),
            _ => Open::Dns(false),
        };
        held.push(guest.open(&open).unwrap());
        if n % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    if let (Some(before), Some(after)) = (before, resident()) {
        // Of that the guest's windows, its own memory in a VM: 256 KiB for each of the 512 connections that the host makes.
        let guest = 128;
        assert!(after - before < 256 + guest, "{before} MiB grew to {after} MiB, guest and host together");
    }
    drop(held);
    let start = Instant::now();
    let answer = async {
        loop {
            let mut stream = guest.open(&Open::Dial(Target::Addr(addr.ip(), addr.port()))).unwrap();
            match receive(&mut stream, MAX_TO_GUEST).await {
                Ok(Some(Dialled::Ok)) => return stream.read_u8().await,
                // Until word of the others' ends gets there.
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    assert_eq!(timeout(SOON, answer).await.unwrap().unwrap(), 7);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Connections that are dialled and never answered do not keep others waiting.
#[tokio::test]
async fn slow_dials_keep_nobody_waiting() {
    let addr = server(|mut tcp| async move {
        let byte = tcp.read_u8().await?;
        tcp.write_all(&[byte]).await
    })
    .await;
    let (proxy, policy) = proxy(vec![addr]).await;
    let guest = wire(&policy);
    // Names that do not resolve occupy the resolver, not the dials to addresses.
    let _names: Vec<_> =
        (0..100).map(|n| guest.open(&Open::Dial(Target::Name(format!("n{n}.invalid"), 80))).unwrap()).collect();
    let start = Instant::now();
    let mut tcp = timeout(SOON, tunnel(proxy, addr)).await.unwrap();
    tcp.write_all(b"x").await.unwrap();
    assert_eq!(tcp.read_u8().await.unwrap(), b'x');
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// Streams full of nonsense: each ends, and nobody else's.
#[tokio::test]
async fn nonsense_ends_its_own_stream_only() {
    let addr = server(|mut tcp| async move { tcp.write_all(b"fine").await }).await;
    let guest = wire(&Arc::new(Policy::new(vec![addr])));
    let noise: Vec<u8> = (0..40_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for n in 0..60usize {
        let open = match n % 3 {
            0 => Open::Dns(n % 2 == 0),
            1 => Open::Udp([9, 9, 9, 9].into(), 9),
            _ => Open::Dial(Target::Name("\0../..%n\u{fffd}".repeat(n), 80)),
        };
        let mut stream = guest.open(&open).unwrap();
        let _ = timeout(SOON, stream.write_all(&noise[n * 7..])).await;
        drop(stream);
    }
    for forbidden in [Open::Control, Open::Terminal, Open::Stdin, Open::Stdout, Open::Stderr] {
        let mut stream = guest.open(&forbidden).unwrap();
        assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err());
    }
    let mut stream = guest.open(&Open::Dial(Target::Addr(addr.ip(), addr.port()))).unwrap();
    assert_eq!(timeout(SOON, receive(&mut stream, MAX_TO_GUEST)).await.unwrap().unwrap(), Some(Dialled::Ok));
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "fine");
}
