//! Makes the connections that [`super::policy`] allows: one lookup, every address judged, and only judged addresses
//! dialled.

use super::Policy;
use super::denials::{Denial, UNLISTED, shown};
use super::policy::{Here, OWN, Verdict, excepted, may_be_opened, verdict};
use super::upstream::Proxy;
use crate::plan::network::{Local, Mode, name};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vmclaude_init::wire::proto::{Dialled, Target};

/// For everything: the lookup and all attempts.
const OVERALL: Duration = Duration::from_secs(30);
/// For one address when there are others to try. The last one has what is left of [`OVERALL`].
const ATTEMPT: Duration = Duration::from_secs(2);
/// The longest name that there is.
const NAME: usize = 253;

/// A connection that was made.
#[derive(Debug)]
pub struct Made {
    /// The connection.
    pub tcp: TcpStream,
    /// The TLS server names of which the guest must say one first; `None`: it may say anything.
    pub names: Option<Vec<String>>,
}

/// Connects to `target` if the policy allows it; a refusal is noted in the policy.
///
/// # Errors
/// What the guest is told: [`Dialled::NotListed`] when the user's list does not name the target, [`Dialled::Forbidden`] when
/// every address of it is, [`Dialled::NoSuchName`], [`Dialled::Refused`], or [`Dialled::Unreachable`] for all else, time-outs
/// included. Never [`Dialled::Ok`].
pub async fn dial(target: &Target, policy: &Policy) -> Result<Made, Dialled> {
    let attempt = async {
        let names = match target {
            Target::Name(text, _) => name(text).into_iter().collect(),
            Target::Addr(addr, _) => policy.names.of(*addr),
        };
        let listed = listed(target, &names, policy)?;
        let found = resolve(target, policy).await?;
        let tcp = match through_proxy(target, &names, &found, policy) {
            Some((proxy, asked)) => {
                judge_for_proxy(target, &asked, &found, policy).await?;
                let place = shown(&asked);
                tracing::debug!("{place} through the host's proxy");
                proxy.connect(&place).await.map_err(|_| Dialled::Unreachable)?
            }
            None if found.is_empty() => return Err(Dialled::NoSuchName),
            None => connect(target, &judge(target, &found, policy)?, policy).await?,
        };
        Ok(Made { tcp, names: listed })
    };
    let made = policy.pending.attempt(timeout(OVERALL, attempt)).await;
    made.and_then(Result::ok).unwrap_or(Err(Dialled::Unreachable))
}

/// Whether the user's list has this target, and the TLS server names that then are the right ones.
fn listed(target: &Target, names: &[String], policy: &Policy) -> Result<Option<Vec<String>>, Dialled> {
    let (port, addr) = match target {
        Target::Name(_, port) => (*port, None),
        Target::Addr(addr, port) => (*port, Some(addr.to_canonical())),
    };
    let network = &policy.network;
    let local = network.allow_local.iter().any(|place| match (place, addr) {
        (Local::Block(..), Some(addr)) => place.covers(addr, &[]),
        (Local::Block(..), None) => false,
        (Local::Name(name), _) => names.contains(name),
    });
    let itself = addr.is_some_and(|addr| {
        excepted(addr, port, &network.allow_hosts) || network.allow.iter().any(|entry| entry.covers_addr(addr, port))
    });
    let fitting = |name: &&String| network.allow.iter().any(|entry| entry.covers_name(name, port));
    let fitting: Vec<String> = names.iter().filter(fitting).cloned().collect();
    match network.mode {
        Mode::Open => Ok(None),
        Mode::Allowlist if itself || local => Ok(None),
        Mode::Allowlist if !fitting.is_empty() => Ok(Some(fitting)),
        Mode::Allowlist | Mode::None => {
            // For people, what the program asked for is the name.
            let target = names.first().map_or_else(|| target.clone(), |name| Target::Name(name.clone(), port));
            let printable = !matches!(&target, Target::Name(text, _) if !is_name(text));
            if printable {
                policy.deny(Denial { target, addr: None, why: UNLISTED });
            }
            Err(Dialled::NotListed)
        }
    }
}

/// The addresses of a target, in the order in which the host's resolver prefers them; none when it has none.
async fn resolve(target: &Target, policy: &Policy) -> Result<Vec<SocketAddr>, Dialled> {
    match target {
        Target::Addr(addr, port) => Ok(vec![SocketAddr::new(*addr, *port)]),
        Target::Name(text, _) if !is_name(text) => Err(Dialled::NoSuchName),
        Target::Name(text, port) => {
            // Not to know is not to know of none: a proxy might find one that nobody judged.
            let found = policy.lookup.addresses(text).await.ok_or(Dialled::NoSuchName)?;
            Ok(found.into_iter().map(|addr| SocketAddr::new(addr, *port)).collect())
        }
    }
}

/// The host's proxy for this target, and what it is asked for. A name that the host itself cannot resolve is the proxy's to
/// resolve; what it makes of it cannot be judged here.
fn through_proxy<'a>(
    target: &Target,
    names: &[String],
    found: &[SocketAddr],
    policy: &'a Policy,
) -> Option<(&'a Proxy, Target)> {
    let (Target::Name(_, port) | Target::Addr(_, port)) = target;
    let first = found.first().map(|addr| addr.ip().to_canonical());
    if first.is_some_and(|addr| excepted(addr, *port, &policy.network.allow_hosts)) {
        return None; // What is on this machine is not behind a proxy.
    }
    let asked = matches!(target, Target::Name(..));
    let name = names.first().filter(|name| *name != "localhost" && !name.ends_with(".localhost"));
    let proxy = match name {
        Some(name) if asked || matches!(port, 80 | 443) => policy.upstream.way(Some(name), first, *port)?,
        _ => policy.upstream.way(None, first, *port)?,
    };
    let asked = match (name, first) {
        (Some(name), _) => Target::Name(name.clone(), *port),
        (None, Some(addr)) => Target::Addr(addr, *port),
        (None, None) => return None,
    };
    Some((proxy, asked))
}

/// Whether the host's proxy may be asked for this. It is told the name, by which companies decide what passes, looks that up itself,
/// and takes any of the addresses: so each has to be one that may be dialled, also those that a caught connection did not name.
async fn judge_for_proxy(
    target: &Target,
    asked: &Target,
    found: &[SocketAddr],
    policy: &Policy,
) -> Result<(), Dialled> {
    judge_each(target, found, policy)?;
    match (target, asked) {
        (Target::Addr(..), Target::Name(..)) => judge_each(asked, &resolve(asked, policy).await?, policy),
        _ => Ok(()),
    }
}

/// Refuses if one of the addresses may not be dialled.
fn judge_each(target: &Target, found: &[SocketAddr], policy: &Policy) -> Result<(), Dialled> {
    match judged(target, found, policy)? {
        (_, Some(denial)) => Err(forbidden(denial, policy)),
        _ => Ok(()),
    }
}

/// Whether this may be handed to the resolver. Stricter than DNS: no zero byte, `%`, `@`, `/` or space has any business in
/// a host name, and what passes can be printed. Odd spellings of numbers do pass: they resolve to what they mean.
fn is_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME && name.bytes().all(fine)
}

/// Those of the addresses that may be dialled; a refusal if that is none.
pub(super) fn judge(target: &Target, found: &[SocketAddr], policy: &Policy) -> Result<Vec<SocketAddr>, Dialled> {
    match judged(target, found, policy)? {
        (allowed, Some(denial)) if allowed.is_empty() => Err(forbidden(denial, policy)),
        (allowed, _) => Ok(allowed),
    }
}

fn forbidden(denial: Denial, policy: &Policy) -> Dialled {
    policy.deny(denial);
    Dialled::Forbidden
}

/// Those of the addresses that may be dialled, and the first that may not.
fn judged(
    target: &Target,
    found: &[SocketAddr],
    policy: &Policy,
) -> Result<(Vec<SocketAddr>, Option<Denial>), Dialled> {
    // Without the list nothing can be judged.
    let here = policy.own.here().map_err(|_| Dialled::Unreachable)?;
    let mut allowed = Vec::new();
    let mut denied = None;
    for found in found {
        let addr = SocketAddr::new(found.ip().to_canonical(), found.port());
        match verdict(addr.ip(), addr.port(), &here, &policy.network.allow_hosts) {
            Verdict::Allow => allowed.push(addr),
            Verdict::Deny(_) if opened(target, addr.ip(), &here, policy) => allowed.push(addr),
            Verdict::Deny(why) => denied = denied.or(Some(Denial { target: target.clone(), addr: Some(addr), why })),
        }
    }
    Ok((allowed, denied))
}

/// Whether the user's settings open this address, which is not public, or too near.
fn opened(target: &Target, addr: IpAddr, here: &Here, policy: &Policy) -> bool {
    let names = match target {
        Target::Name(text, _) => name(text).into_iter().collect(),
        Target::Addr(addr, _) => policy.names.of(*addr),
    };
    may_be_opened(addr)
        && !here.addresses.contains(&addr)
        && policy.network.allow_local.iter().any(|place| place.covers(addr, &names))
}

/// The first address that answers, one after the other.
async fn connect(target: &Target, addrs: &[SocketAddr], policy: &Policy) -> Result<TcpStream, Dialled> {
    let mut why = Dialled::Unreachable;
    for (i, addr) in addrs.iter().enumerate() {
        let limit = if i + 1 == addrs.len() { OVERALL } else { ATTEMPT };
        why = match timeout(limit, TcpStream::connect(addr)).await {
            Ok(Ok(tcp))
                if stayed_here(tcp.local_addr(), addr)
                    && !excepted(addr.ip(), addr.port(), &policy.network.allow_hosts) =>
            {
                policy.deny(Denial { target: target.clone(), addr: Some(*addr), why: OWN });
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
pub(super) fn stayed_here(here: io::Result<SocketAddr>, dialled: &SocketAddr) -> bool {
    !here.is_ok_and(|here| here.ip() != dialled.ip())
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
