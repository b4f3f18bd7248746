//! The listeners to which the kernel hands every connection that leaves the guest.

use super::steer;
use crate::proxy;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections that wait to be accepted.
const QUEUE: u32 = 1024;

/// Catches connections in the background, all but those to the guest's `own` addresses.
///
/// # Errors
/// The kernel's.
pub(super) fn serve(wire: &Wire, own: (Ipv4Addr, Ipv6Addr)) -> io::Result<()> {
    let v4 = listen(TcpSocket::new_v4()?, IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let v6 = listen(TcpSocket::new_v6()?, IpAddr::V6(Ipv6Addr::LOCALHOST))?;
    let steering = steer::steer(v4.as_raw_fd(), v6.as_raw_fd(), own)?;
    let other = wire.clone();
    tokio::spawn(async move { proxy::each(v6, |tcp| carry(tcp, other.clone())).await });
    let wire = wire.clone();
    tokio::spawn(async move {
        proxy::each(v4, |tcp| carry(tcp, wire.clone())).await;
        drop(steering);
    });
    Ok(())
}

/// A listener whose connections may have addresses that are not ours.
fn listen(socket: TcpSocket, addr: IpAddr) -> io::Result<TcpListener> {
    let (level, option) = match addr {
        IpAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option is an int, which lives through the call.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(SocketAddr::new(addr, 0))?;
    socket.listen(QUEUE)
}

/// One connection: our end of it has the very address that the guest's program asked for.
async fn carry(tcp: TcpStream, wire: Wire) {
    let Ok(to) = tcp.local_addr() else { return };
    if to.port() != 53 {
        return proxy::dial_and_carry(tcp, Target::Addr(to.ip().to_canonical(), to.port()), &wire).await;
    }
    match names(&wire).await {
        Some(stream) => pipe(tcp, stream).await,
        None => reset(tcp),
    }
}

/// Questions for names over TCP have the same form as on the wire.
async fn names(wire: &Wire) -> Option<Stream> {
    let mut stream = wire.open(&Open::Dns(true)).ok()?;
    match proto::receive(&mut stream, proto::MAX_TO_GUEST).await {
        Ok(Some(Dialled::Ok)) => Some(stream),
        _ => None,
    }
}
