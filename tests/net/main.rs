//! The guest's proxy and the host's dialler, joined by a wire in memory.
#![allow(clippy::unwrap_used)] // helpers of tests

mod attacks;
mod flood;
mod http;
mod modes;
#[allow(dead_code)] // the supervisor's, compiled from its source
#[path = "../../image/init/src/proxy/mod.rs"]
mod proxy;
mod transfer;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use vmclaude::net::{Policy, serve_stream};
use vmclaude_init::wire::mux::{Side, Wire};

/// Any free port of the loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The guest's end of a wire whose host dials under this policy.
fn wire(policy: &Arc<Policy>) -> Wire {
    let (guest, host) = (Wire::new(Side::Guest), Wire::new(Side::Host));
    let (near, far) = duplex(64 << 10);
    for (wire, io) in [(guest.clone(), near), (host.clone(), far)] {
        tokio::spawn(async move {
            if let Err(e) = wire.drive(io).await {
                panic!("the wire: {e}"); // Seen when a test fails.
            }
        });
    }
    let policy = policy.clone();
    tokio::spawn(async move {
        while let Ok((open, stream)) = host.accept().await {
            tokio::spawn(serve_stream(open, stream, policy.clone()));
        }
    });
    guest
}

/// A proxy in front of a policy with these exceptions.
async fn proxy(allow: Vec<SocketAddr>) -> (SocketAddr, Arc<Policy>) {
    let policy = Arc::new(Policy::new(allow));
    let listener = proxy::listen(LOOPBACK).unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(proxy::serve(listener, wire(&policy)));
    (addr, policy)
}

/// A server that does the same with every connection.
async fn server<A>(handle: impl Fn(TcpStream) -> A + Send + 'static) -> SocketAddr
where
    A: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = proxy::listen(LOOPBACK).unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(handle(tcp));
        }
    });
    addr
}

/// Sends bytes, and reads until the other side ends.
async fn talk(to: SocketAddr, say: &[u8]) -> String {
    let mut tcp = TcpStream::connect(to).await.unwrap();
    tcp.write_all(say).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads up to the empty line of a head.
async fn read_head(tcp: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A tunnel through the proxy.
async fn tunnel(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    let mut tcp = TcpStream::connect(proxy).await.unwrap();
    tcp.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await.unwrap();
    let head = read_head(&mut tcp).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    tcp
}
