//! The listeners to which the kernel hands every connection that leaves the guest.

use super::steer::{Steering, steer};
use crate::proxy::carry;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use vmclaude_init::wire::crowd::Crowd;
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections that wait to be accepted.
const QUEUE: i32 = 1024;

/// Connections with questions for names. The host keeps them for a minute, so they have no place among those that it dials: the oldest gives
/// way.
static NAMES: Crowd = Crowd::new(64);

/// The listeners, and the hook that hands connections to them for as long as this lives.
pub(super) struct Caught {
    v4: TcpListener,
    v6: TcpListener,
    steering: Arc<Steering>,
}

/// Catches all connections but those to the guest's `own` addresses. They wait until somebody serves them.
///
/// # Errors
/// The kernel's.
pub(super) fn catch(own: (Ipv4Addr, Ipv6Addr)) -> io::Result<Caught> {
    let v4 = listen(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
    let v6 = listen(IpAddr::V6(Ipv6Addr::LOCALHOST))?;
    let steering = steer(v4.as_raw_fd(), v6.as_raw_fd(), own)?;
    Ok(Caught { v4, v6, steering: Arc::new(steering) })
}

/// Serves them in the background.
pub(super) fn serve(caught: Caught, wire: &Wire) {
    let Caught { v4, v6, steering } = caught;
    for listener in [v4, v6] {
        let (wire, steering) = (wire.clone(), Arc::clone(&steering));
        tokio::spawn(async move {
            if let Err(e) = carry::each(listener, |tcp| begin(tcp, &wire)).await {
                crate::sys::log(&format!("connections are caught no more: {e}"));
            }
            drop(steering);
        });
    }
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
    // Every connection to it has this too.
    nix::sys::socket::setsockopt(&listener, nix::sys::socket::sockopt::TcpNoDelay, &true)?;
    carry::keep_little(&listener)?;
    // Again, for a longer queue than the usual one.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(QUEUE)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One connection: our end of it has the very address that the guest's program asked for.
fn begin(tcp: TcpStream, wire: &Wire) -> Option<impl Future<Output = ()> + Send + use<>> {
    let to = tcp.local_addr().ok()?;
    if to.port() == 53 {
        let wire = wire.clone();
        tokio::spawn(async move { NAMES.attempt(names(tcp, &wire)).await });
        return None;
    }
    let stream = carry::open(&tcp, &Open::Caught(Target::Addr(to.ip().to_canonical(), to.port())), wire).ok()?;
    Some(carry::rest(tcp, stream))
}

/// Questions for names over TCP have the same form as on the wire.
async fn names(tcp: TcpStream, wire: &Wire) {
    let Ok(tcp) = tokio::net::TcpStream::from_std(tcp) else { return };
    let taken = async {
        let mut stream = wire.open(&Open::Dns(true)).ok()?;
        match proto::receive(&mut stream, proto::MAX_TO_GUEST).await {
            Ok(Some(Dialled::Ok)) => Some(stream),
            _ => None,
        }
    };
    match taken.await {
        Some(stream) => pipe(tcp, stream).await,
        None => reset(tcp),
    }
}
