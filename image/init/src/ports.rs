//! Connections that the host makes to programs here: each is a stream that the host opens.

use crate::notice::Repeater;
use crate::sys;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open};

/// How long a program here may take to be connected to. The kernel answers for it, so this is long.
const LIMIT: Duration = Duration::from_secs(5);

/// Serves what the host opens beside the command's own streams, until the wire ends.
pub(crate) async fn serve(wire: Wire, repeater: Repeater) {
    let mut repeater = Some(repeater);
    while let Ok((open, stream)) = wire.accept().await {
        match open {
            Open::Forward(port) => drop(tokio::spawn(carry(stream, port))),
            Open::Events if repeater.is_some() => {
                if let Some(repeater) = repeater.take() {
                    tokio::spawn(repeater.serve(stream));
                }
            }
            // Dropped, and so reset.
            other => sys::log(&format!("the host opened {other:?}, which is not for the guest")),
        }
    }
}

/// One connection: answered, then carried until both directions have ended.
async fn carry(mut stream: Stream, port: u16) {
    let (tcp, answer) = match dial(port).await {
        Ok(tcp) => (Some(tcp), Dialled::Ok),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => (None, Dialled::Refused),
        Err(_) => (None, Dialled::Unreachable),
    };
    match (tcp, proto::send(&mut stream, &answer).await) {
        (Some(tcp), Ok(())) => pipe(tcp, stream).await,
        (Some(tcp), Err(_)) => reset(tcp),
        (None, _) => {}
    }
}

/// Programs listen on either loopback, or on both.
async fn dial(port: u16) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::ConnectionRefused.into();
    for loopback in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        match timeout(LIMIT, TcpStream::connect((loopback, port))).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Ok(Err(e)) => last = e,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
