//! The addresses of this machine's own interfaces, and the networks that those are in: no guest may reach it or its neighbours by
//! them, and each connection is judged by them.
//!
//! They come and go with every VPN and Wi-Fi, and to list them takes a dozen system calls. Linux tells of every change, so
//! there they are listed again only after one.

use super::policy::Here;
use crate::plan::network::Local;
use nix::ifaddrs::InterfaceAddress;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The fewest bits that name a network around this machine. A mask of fewer is a tunnel into the world and no network: of IPv4 what
/// was never handed out in one piece, of IPv6 more than one site has (6to4 has /16, Teredo /32, a provider's 6rd about as much).
const SHORTEST: (u32, u32) = (8, 48);
/// The bits that name the network of an IPv6 address on a link with others, whatever its mask: who gets an address by DHCP, as in
/// companies and clouds, gets it without one (/128).
const LINK: u32 = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Own {
    changes: Option<Changes>,
    known: Mutex<Option<Arc<Here>>>,
}

impl Own {
    pub(super) fn new() -> Own {
        Own { changes: Changes::listen(), known: Mutex::default() }
    }

    /// Where this machine is, as of now.
    ///
    /// # Errors
    /// The system's; without the list nothing can be judged.
    pub(super) fn here(&self) -> io::Result<Arc<Here>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // First whether it changed, then the list: what changes in between is heard of next time.
        let same = self.changes.as_ref().is_some_and(Changes::none);
        if let (true, Some(here)) = (same, &*known) {
            return Ok(Arc::clone(here));
        }
        *known = None;
        let here = Arc::new(list()?);
        *known = Some(Arc::clone(&here));
        Ok(here)
    }
}

fn list() -> io::Result<Here> {
    let mut here = Here::default();
    for interface in nix::ifaddrs::getifaddrs()? {
        let Some(addr) = interface.address.as_ref().and_then(ip) else { continue };
        here.addresses.push(addr);
        here.networks.extend(network(addr, &Link::of(&interface)));
    }
    Ok(here)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
        (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
        _ => None,
    }
}

/// What an interface says of one of its addresses.
#[derive(Debug)]
struct Link {
    /// How many bits its mask has; `None`: it has no mask.
    bits: Option<u32>,
    /// The other end, where there is only one.
    end: Option<IpAddr>,
    /// Whether others may be on it.
    shared: bool,
}

impl Link {
    fn of(interface: &InterfaceAddress) -> Link {
        let bits = |mask| match mask {
            IpAddr::V4(v4) => v4.to_bits().leading_ones(),
            IpAddr::V6(v6) => v6.to_bits().leading_ones(),
        };
        let alone = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
        Link {
            bits: interface.netmask.as_ref().and_then(ip).map(bits),
            end: interface.destination.as_ref().and_then(ip),
            shared: !interface.flags.intersects(alone),
        }
    }
}

/// The network that an interface's address is in; `None`: what its mask says is none.
fn network(addr: IpAddr, link: &Link) -> Option<Local> {
    let end = link.end.filter(|end| *end != addr && !end.is_unspecified());
    let (all, shortest) = if addr.is_ipv4() { (32, SHORTEST.0) } else { (128, SHORTEST.1) };
    let bits = match link.bits {
        // A Mac gives such a link the mask of the address's class, which says nothing. On Linux it is the other end's.
        _ if end.is_some() && cfg!(not(target_os = "linux")) => all,
        bits if addr.is_ipv6() && link.shared => bits.unwrap_or(all).min(LINK),
        bits => bits.unwrap_or(all),
    };
    (bits >= shortest).then(|| Local::Block(end.unwrap_or(addr), bits))
}

/// The kernel's news of addresses.
#[derive(Debug)]
struct Changes(#[cfg(target_os = "linux")] std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Changes {
    /// `None`: the kernel does not tell, so nothing is ever known to be the same.
    fn listen() -> Option<Changes> {
        use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
        use std::os::fd::AsRawFd;
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let news = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()?;
        bind(news.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned())).ok()?;
        Some(Changes(news))
    }

    /// Whether there was no news since this was last asked.
    fn none(&self) -> bool {
        use nix::errno::Errno;
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let mut none = true;
        loop {
            match recv(self.0.as_raw_fd(), &mut [0; 4096], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return none,
                // That some were lost (ENOBUFS) is news too.
                Ok(1..) | Err(Errno::EINTR | Errno::ENOBUFS) => none = false,
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Changes {
    fn listen() -> Option<Changes> {
        None
    }

    fn none(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, Own, list, network};
    use crate::net::policy::{NETWORK, Verdict, verdict};
    use std::net::IpAddr;

    #[test]
    fn our_own_addresses_are_seen() {
        for own in [Own::new(), Own::default()] {
            let all = own.here().expect("here").addresses.clone();
            assert!(all.contains(&[127, 0, 0, 1].into()), "{all:?}");
            assert_eq!(*own.here().expect("again"), list().expect("list"));
        }
    }

    /// In a network namespace of this thread's own, which takes root.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_comes_or_goes_is_known_at_once() {
        let ip = |words: &str| {
            let done = std::process::Command::new("ip").args(words.split(' ')).status();
            done.is_ok_and(|status| status.success())
        };
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() || !ip("link set lo up") {
            println!("skipped own::an_address_that_comes_or_goes_is_known_at_once: it takes root, and ip");
            return;
        }
        let own = Own::new();
        let ip_of = |address: &str| address.parse::<IpAddr>().expect("ip");
        let has = |address: &str| own.here().expect("here").addresses.contains(&ip_of(address));
        assert!(!has("203.0.113.7") && has("127.0.0.1"));
        for address in ["203.0.113.7/32", "2001:db8::7/128"] {
            let plain = address.split('/').next().unwrap_or_default();
            for _ in 0..3 {
                assert!(ip(&format!("addr add {address} dev lo")), "{address}");
                assert!(has(plain) && has(plain), "{address} came");
                assert!(ip(&format!("addr del {address} dev lo")), "{address}");
                assert!(!has(plain) && !has(plain), "{address} went");
            }
        }
        for (address, neighbour) in [("11.22.33.7/24", "11.22.33.200"), ("2600:0:0:7::7/64", "2600::7:1:2:3:4")] {
            let judged = || verdict(ip_of(neighbour), 80, &own.here().expect("here"), &[]);
            assert_eq!(judged(), Verdict::Allow, "the control");
            assert!(ip(&format!("addr add {address} dev lo")), "{address}");
            assert_eq!(judged(), Verdict::Deny(NETWORK), "{neighbour}");
        }
    }

    #[test]
    fn a_network_is_what_the_mask_says_and_never_half_the_world() {
        let of = |addr: &str, bits, end: &str, shared| {
            let link = Link { bits, end: end.parse().ok(), shared };
            network(addr.parse().expect("ip"), &link).map(|network| network.to_string())
        };
        for (addr, bits, expected) in [
            ("11.2.3.4", Some(24), Some("11.2.3.4/24")),
            ("11.2.3.4", Some(32), Some("11.2.3.4/32")),
            ("11.2.3.4", None, Some("11.2.3.4/32")),
            ("11.2.3.4", Some(8), Some("11.2.3.4/8")),
            ("11.2.3.4", Some(7), None),
            ("11.2.3.4", Some(1), None),
            ("11.2.3.4", Some(0), None),
            ("2600::1", Some(64), Some("2600::1/64")),
            ("2600::1", Some(56), Some("2600::1/56")),
            ("2600::1", Some(128), Some("2600::1/64")),
            ("2600::1", None, Some("2600::1/64")),
            ("2002:b16:2c07::1", Some(16), None),
            ("2600::1", Some(0), None),
        ] {
            assert_eq!(of(addr, bits, "", true).as_deref(), expected, "{addr} {bits:?}");
        }
        // A tunnel's end of its own, and loopback.
        assert_eq!(of("2600::1", Some(128), "", false).as_deref(), Some("2600::1/128"));
        assert_eq!(of("11.2.3.4", Some(24), "11.2.3.4", false).as_deref(), Some("11.2.3.4/24"));
        assert_eq!(of("11.2.3.4", Some(32), "12.0.0.1", false).as_deref(), Some("12.0.0.1/32"));
        let class = if cfg!(target_os = "linux") { "12.0.0.1/8" } else { "12.0.0.1/32" };
        assert_eq!(of("11.2.3.4", Some(8), "12.0.0.1", false).as_deref(), Some(class));
        assert_eq!(of("11.2.3.4", Some(0), "12.0.0.1", false).is_none(), cfg!(target_os = "linux"));
    }
}
