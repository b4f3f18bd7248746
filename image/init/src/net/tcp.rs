//! The listeners to which the kernel hands every connection that leaves the guest.

use super::steer::{Steering, steer};
use crate::proxy;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::AsRawFd;
use tokio::net::TcpStream;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections that wait to be accepted.
const QUEUE: i32 = 1024;

/// The listeners, and the hook that hands connections to them for as long as this lives.
pub(super) struct Caught {
    v4: TcpListener,
    v6: TcpListener,
    steering: Steering,
}

/// Catches all connections but those to the guest's `own` addresses. They wait until somebody serves them.
///
/// # Errors
/// The kernel's.
pub(super) fn catch(own: (Ipv4Addr, Ipv6Addr)) -> io::Result<Caught> {
    let v4 = listen(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let v6 = listen(IpAddr::V6(Ipv6Addr::LOCALHOST))?;
    let steering = steer(v4.as_raw_fd(), v6.as_raw_fd(), own)?;
    Ok(Caught { v4, v6, steering })
}

/// Serves them in the background.
///
/// # Errors
/// When the listeners cannot be waited for.
pub(super) fn serve(caught: Caught, wire: &Wire) -> io::Result<()> {
    let [v4, v6] = [caught.v4, caught.v6].map(tokio::net::TcpListener::from_std);
    let (v4, v6, steering) = (v4?, v6?, caught.steering);
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
fn listen(addr: IpAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((addr, 0))?;
    let (level, option) = match addr {
        IpAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option is an int, which lives through the call.
    let rc = unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // Again, for a longer queue than the usual one.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(QUEUE)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
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
