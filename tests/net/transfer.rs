//! Bytes, ends and resets through a tunnel.

use super::{proxy, server, tunnel, wire};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use vmclaude::net::Policy;
use vmclaude_init::wire::proto::Target;

const SOON: Duration = Duration::from_secs(20);

async fn echo(mut tcp: TcpStream) -> io::Result<()> {
    let (mut from, mut to) = tcp.split();
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// The guest ends first; the answer comes later and whole.
#[tokio::test]
async fn a_half_close_of_the_guest_leaves_the_other_direction_open() {
    let addr = server(|mut tcp| async move {
        let mut all = Vec::new();
        tcp.read_to_end(&mut all).await?;
        sleep(Duration::from_millis(200)).await;
        all.reverse();
        tcp.write_all(&all).await
    })
    .await;
    let mut tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    tcp.write_all(b"abc").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = String::new();
    timeout(SOON, tcp.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "cba");
}

/// The server ends first; what the guest sends later still arrives.
#[tokio::test]
async fn a_half_close_of_the_server_leaves_the_other_direction_open() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let addr = server(move |mut tcp| {
        let tell = tell.clone();
        async move {
            tcp.shutdown().await?;
            let mut all = String::new();
            tcp.read_to_string(&mut all).await?;
            tell.lock().unwrap().take().unwrap().send(all).map_err(io::Error::other)
        }
    })
    .await;
    let mut tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    assert_eq!(timeout(SOON, tcp.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
    sleep(Duration::from_millis(200)).await;
    tcp.write_all(b"late").await.unwrap();
    tcp.shutdown().await.unwrap();
    assert_eq!(timeout(SOON, told).await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_reset_of_the_server_is_a_reset_for_the_guest() {
    let addr = server(|mut tcp| async move {
        tcp.read_u8().await?;
        tcp.set_zero_linger()
    })
    .await;
    let mut tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    tcp.write_all(b"x").await.unwrap();
    let end = timeout(SOON, tcp.read(&mut [0; 8])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_of_the_guest_is_a_reset_for_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    let (mut at_server, _) = listener.accept().await.unwrap();
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let end = timeout(SOON, at_server.read(&mut [0; 8])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn two_hundred_tunnels_at_once() {
    let addr = server(echo).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let one = move |i: usize| async move {
        let mut tcp = tunnel(proxy, addr).await;
        let sent: Vec<u8> = (0..100_000).map(|n| (n * 31 + i) as u8).collect();
        let (mut from, mut to) = tcp.split();
        let mut back = Vec::new();
        let send = async {
            to.write_all(&sent).await?;
            to.shutdown().await
        };
        tokio::try_join!(send, from.read_to_end(&mut back)).unwrap();
        assert_eq!(back, sent);
    };
    let all: Vec<_> = (0..200).map(|i| tokio::spawn(one(i))).collect();
    for task in all {
        timeout(SOON, task).await.unwrap().unwrap();
    }
}

/// Connections that come and go by the thousand, most of them refused, and clients that leave at once: the wire has a limit
/// on streams and must never meet it.
#[tokio::test]
async fn thousands_of_short_connections_leave_the_wire_whole() {
    let addr = server(echo).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let one = move |i: u16| async move {
        let port = if i.is_multiple_of(3) { addr.port() } else { i };
        let mut tcp = TcpStream::connect(proxy).await?;
        tcp.write_all(format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n").as_bytes()).await?;
        if i.is_multiple_of(2) {
            tcp.read_u8().await?;
        }
        io::Result::Ok(())
    };
    for round in 0..20 {
        let all: Vec<_> = (1..=200).map(|i| tokio::spawn(one(round * 200 + i))).collect();
        for task in all {
            timeout(SOON, task).await.unwrap().unwrap().unwrap();
        }
    }
    let mut tcp = tunnel(proxy, addr).await;
    tcp.write_all(b"alive").await.unwrap();
    tcp.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test]
async fn fifty_megabytes_there_and_back_unchanged() {
    use sha2::{Digest, Sha256};
    const CHUNK: usize = 1 << 20;
    let addr = server(echo).await;
    let mut tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    let (mut from, mut to) = tcp.split();
    let chunk = |i: usize| (0..CHUNK).map(|n| (((n ^ i) * 2_654_435_761) >> 13) as u8).collect::<Vec<u8>>();
    let send = async {
        let mut sum = Sha256::new();
        for i in 0..50 {
            let bytes = chunk(i);
            sum.update(&bytes);
            to.write_all(&bytes).await?;
        }
        to.shutdown().await?;
        io::Result::Ok(sum.finalize())
    };
    let receive = async {
        let (mut sum, mut len, mut buf) = (Sha256::new(), 0, vec![0; CHUNK]);
        loop {
            match from.read(&mut buf).await? {
                0 => return io::Result::Ok((sum.finalize(), len)),
                n => {
                    sum.update(&buf[..n]);
                    len += n;
                }
            }
        }
    };
    let (sent, (received, len)) = timeout(4 * SOON, async { tokio::try_join!(send, receive) }).await.unwrap().unwrap();
    assert_eq!((received, len), (sent, 50 * CHUNK));
}

/// A client that does not read stops the server; nothing grows in between.
#[tokio::test]
async fn a_slow_reader_holds_the_sender_back() {
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sent.clone();
    let addr = server(move |mut tcp| {
        let counter = counter.clone();
        async move {
            loop {
                tcp.write_all(&[7; 65536]).await?;
                counter.fetch_add(65536, std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    let tcp = tunnel(proxy(vec![addr]).await.0, addr).await;
    sleep(Duration::from_millis(700)).await;
    let first = sent.load(std::sync::atomic::Ordering::Relaxed);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), first);
    assert!(first < 64 << 20, "{first}");
    drop(tcp);
}

#[tokio::test]
async fn a_fixed_forward_carries_bytes_and_resets_what_is_refused() {
    let addr = server(echo).await;
    let mut tcp = forwarded(addr, Policy::new(vec![addr])).await;
    tcp.write_all(b"ping").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut back = String::new();
    timeout(SOON, tcp.read_to_string(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, "ping");

    let mut tcp = forwarded(addr, Policy::new(vec![])).await;
    let end = timeout(SOON, tcp.read(&mut [0; 8])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

/// A connection to a door that leads to `addr`.
async fn forwarded(addr: SocketAddr, policy: Policy) -> TcpStream {
    let listener = super::proxy::listen(super::LOOPBACK).unwrap();
    let door = listener.local_addr().unwrap();
    let target = Target::Addr(addr.ip(), addr.port());
    tokio::spawn(super::proxy::forward(listener, target, wire(&Arc::new(policy))));
    TcpStream::connect(door).await.unwrap()
}
