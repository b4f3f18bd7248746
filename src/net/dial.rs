//! Makes the connections that [`super::policy`] allows: one lookup, every address judged, and only judged addresses
//! dialled.

use super::policy::{OWN, Verdict, excepted, verdict};
use super::{Denial, Policy};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use vmclaude_init::wire::proto::{Dialled, Target};

/// For everything: the wait for a turn, the lookup and all attempts.
const OVERALL: Duration = Duration::from_secs(30);
/// For one address when there are others to try. The last one has what is left of [`OVERALL`].
const ATTEMPT: Duration = Duration::from_secs(2);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;
/// The longest name that there is.
const NAME: usize = 253;

/// Connects to `target` if the policy allows it; a refusal is noted in the policy.
///
/// # Errors
/// What the guest is told: [`Dialled::Forbidden`] when every address of the target is, [`Dialled::NoSuchName`],
/// [`Dialled::Refused`], or [`Dialled::Unreachable`] for all else, time-outs included. Never [`Dialled::Ok`].
pub async fn dial(target: &Target, policy: &Policy) -> Result<TcpStream, Dialled> {
    let attempt = async {
        let _turn = policy.pending.acquire().await.map_err(|_| Dialled::Unreachable)?;
        let found = resolve(target, policy).await?;
        let allowed = judge(target, &found, policy)?;
        connect(target, &allowed, policy).await
    };
    timeout(OVERALL, attempt).await.unwrap_or(Err(Dialled::Unreachable))
}

/// The addresses of a target, in the order in which the host's resolver prefers them.
async fn resolve(target: &Target, policy: &Policy) -> Result<Vec<SocketAddr>, Dialled> {
    let (name, port) = match target {
        Target::Addr(addr, port) => return Ok(vec![SocketAddr::new(*addr, *port)]),
        Target::Name(name, port) => (name.clone(), *port),
    };
    if !is_name(&name) {
        return Err(Dialled::NoSuchName);
    }
    let turn = policy.lookups.clone().acquire_owned().await.map_err(|_| Dialled::Unreachable)?;
    // A lookup cannot be called off. In a task of its own it keeps its turn until it really ends, so that a guest which
    // gives up and asks again cannot pile up threads.
    let lookup = tokio::spawn(async move {
        let found = lookup_host((name, port)).await.map(|found| found.take(ADDRESSES).collect::<Vec<_>>());
        drop(turn);
        found
    });
    match lookup.await {
        Ok(Ok(found)) if !found.is_empty() => Ok(found),
        _ => Err(Dialled::NoSuchName),
    }
}

/// Whether this may be handed to the resolver. Stricter than DNS: no zero byte, `%`, `@`, `/` or space has any business in
/// a host name, and what passes can be printed. Odd spellings of numbers do pass: they resolve to what they mean.
fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME && name.bytes().all(fine)
}

/// Those of the addresses that may be dialled.
fn judge(target: &Target, found: &[SocketAddr], policy: &Policy) -> Result<Vec<SocketAddr>, Dialled> {
    // Read anew each time: addresses come with every VPN and Wi-Fi. Without the list nothing can be judged.
    let own = own_addresses().map_err(|_| Dialled::Unreachable)?;
    let mut allowed = Vec::new();
    let mut denied = None;
    for found in found {
        let addr = SocketAddr::new(found.ip().to_canonical(), found.port());
        match verdict(addr.ip(), addr.port(), &own, &policy.allow) {
            Verdict::Allow => allowed.push(addr),
            Verdict::Deny(why) => denied = denied.or(Some(Denial { target: target.clone(), addr, why })),
        }
    }
    match denied {
        Some(denial) if allowed.is_empty() => {
            policy.deny(denial);
            Err(Dialled::Forbidden)
        }
        _ => Ok(allowed),
    }
}

/// Every address of this machine's interfaces.
fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let ip = |address: nix::sys::socket::SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
        (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
        _ => None,
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address.and_then(ip)).collect())
}

/// The first address that answers, one after the other.
///
/// The host's own proxy settings belong here: the addresses are judged, and only the way to them would differ.
async fn connect(target: &Target, addrs: &[SocketAddr], policy: &Policy) -> Result<TcpStream, Dialled> {
    let mut why = Dialled::Unreachable;
    for (i, addr) in addrs.iter().enumerate() {
        let limit = if i + 1 == addrs.len() { OVERALL } else { ATTEMPT };
        why = match timeout(limit, TcpStream::connect(addr)).await {
            Ok(Ok(tcp)) if stayed_here(&tcp, addr) && !excepted(addr.ip(), addr.port(), &policy.allow) => {
                policy.deny(Denial { target: target.clone(), addr: *addr, why: OWN });
                Dialled::Forbidden
            }
            Ok(Ok(tcp)) => {
                // Fails only for a socket that is gone, which the first read says too.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionRefused => Dialled::Refused,
            Ok(Err(_)) | Err(_) => Dialled::Unreachable,
        };
    }
    Err(why)
}

/// Whether a connection never left this machine: its two ends have one address. A second look that catches an address
/// which came up just now, and a route that keeps a whole block here.
fn stayed_here(tcp: &TcpStream, dialled: &SocketAddr) -> bool {
    !tcp.local_addr().is_ok_and(|here| here.ip() != dialled.ip())
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
