//! Datagrams: one socket for each pair of ends, judged and connected before anything is sent.

use super::dial::{judge, stayed_here};
use super::policy::excepted;
use super::{Denial, Policy};
use crate::plan::network::Mode;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use vmclaude_init::wire::proto::{Dialled, Target};

/// How long a socket stays without a datagram from the guest. It ends flows itself a little earlier.
const IDLE: Duration = Duration::from_secs(120);
/// The longest datagram.
const LONGEST: usize = 65_535;

/// A socket that can only speak with `addr`, if the policy allows it.
///
/// # Errors
/// What the guest is told.
pub(super) async fn connect(addr: SocketAddr, policy: &Policy) -> Result<UdpSocket, Dialled> {
    let target = Target::Addr(addr.ip(), addr.port());
    let known = excepted(addr.ip(), addr.port(), &policy.network.allow_hosts);
    // What a datagram says cannot be compared with a list of names.
    if policy.network.mode != Mode::Open && !known {
        policy.deny(Denial { target, addr: Some(addr), why: super::UNLISTED });
        return Err(Dialled::NotListed);
    }
    let allowed = judge(&target, &[addr], policy)?;
    let addr = *allowed.first().ok_or(Dialled::Forbidden)?;
    let any: IpAddr = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(|_| Dialled::Unreachable)?;
    socket.connect(addr).await.map_err(|_| Dialled::Unreachable)?;
    if stayed_here(socket.local_addr(), &addr) && !known {
        policy.deny(Denial { target, addr: Some(addr), why: super::policy::OWN });
        return Err(Dialled::Forbidden);
    }
    Ok(socket)
}

/// Carries datagrams until the guest ends the stream, sends none for a while, or the other side is unreachable.
pub(super) async fn carry(socket: UdpSocket, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (mut from, mut to) = split(stream);
    let send = async {
        let mut content = vec![0; LONGEST];
        while let Ok(length) = timeout(IDLE, from.read_u16()).await {
            let Ok(length) = length else { break };
            let content = &mut content[..usize::from(length)];
            from.read_exact(content).await?;
            match socket.send(content).await {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Err(e),
                // Anything else, such as one that is too long for the way, is the loss of one datagram.
                _ => {}
            }
        }
        Ok(())
    };
    let receive = async {
        let mut framed = vec![0; 2 + LONGEST];
        loop {
            let length = socket.recv(&mut framed[2..]).await?;
            framed[..2].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
            to.write_all(&framed[..2 + length]).await?;
        }
    };
    tokio::select! {
        done = send => done,
        done = receive => done,
    }
}
