//! Which addresses the guest may reach: the public Internet, never this machine, its networks or cloud metadata.
//!
//! One pure function, asked about the very address that is then dialled.

use crate::plan::network::Local;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The answer about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be dialled.
    Allow,
    /// It may not: what kind of address it is, for a person.
    Deny(&'static str),
}

/// What an address of this machine's own interfaces is called.
pub(super) const OWN: &str = "this machine's own address";
/// What an address in the network of one of them is called, however public it is in form: a printer, the router, a server beside
/// this one.
pub(super) const NETWORK: &str = "this machine's own network";

/// Where this machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Here {
    /// The addresses of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// The networks that those are in.
    pub networks: Vec<Local>,
}

impl Here {
    /// What an address is to this machine; `None`: nothing.
    fn knows(&self, addr: IpAddr) -> Option<&'static str> {
        let near = || self.networks.iter().any(|network| network.covers(addr, &[]));
        if self.addresses.contains(&addr) { Some(OWN) } else { near().then_some(NETWORK) }
    }
}

/// IPv4 blocks that are not the public Internet: (first address, prefix length, what it is).
const V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this machine (unspecified)"),
    ([10, 0, 0, 0], 8, "a private network"),
    ([100, 64, 0, 0], 10, "a provider's inner network (CGNAT)"),
    ([127, 0, 0, 0], 8, "this machine's loopback"),
    ([168, 63, 129, 16], 32, "cloud metadata"), // Azure keeps its own in the middle of public space
    ([169, 254, 0, 0], 16, "link-local or cloud metadata"),
    ([172, 16, 0, 0], 12, "a private network"),
    ([192, 0, 0, 0], 24, "reserved or cloud metadata"),
    ([192, 0, 2, 0], 24, "reserved for documentation"),
    ([192, 88, 99, 0], 24, "a 6to4 relay"),
    ([192, 168, 0, 0], 16, "a private network"),
    ([198, 18, 0, 0], 15, "a test network"),
    ([198, 51, 100, 0], 24, "reserved for documentation"),
    ([203, 0, 113, 0], 24, "reserved for documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved or broadcast"),
];

/// IPv6 blocks that are not the public Internet. All but the last three lie outside 2000::/3, where nothing is public
/// anyway; they are listed for their words.
const V6: &[([u16; 8], u32, &str)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 128, "this machine (unspecified)"),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "this machine's loopback"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "a local NAT64 network"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "a private network"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "a private network (site-local)"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "reserved for documentation"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "reserved for documentation"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "reserved"),
];

/// Whether the guest may reach `addr`:`port` from here. `allow` are exact exceptions, which win over everything.
///
/// An address that carries others (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP) must pass with each of them, because some
/// router on the way may unwrap it.
pub fn verdict(addr: IpAddr, port: u16, here: &Here, allow: &[SocketAddr]) -> Verdict {
    // The kernel dials an IPv4-mapped address as the IPv4 address that it is.
    let addr = addr.to_canonical();
    if excepted(addr, port, allow) {
        return Verdict::Allow;
    }
    let forbidden = |face: IpAddr| {
        let special = match face {
            IpAddr::V4(v4) => special_v4(v4),
            IpAddr::V6(v6) => special_v6(v6),
        };
        special.or_else(|| here.knows(face))
    };
    let inner = match addr {
        IpAddr::V4(_) => [None, None],
        IpAddr::V6(v6) => embedded(v6),
    };
    let mut faces = std::iter::once(addr).chain(inner.into_iter().flatten().map(IpAddr::V4));
    faces.find_map(forbidden).map_or(Verdict::Allow, Verdict::Deny)
}

/// Services by which clouds hand out credentials, where their addresses lie in networks that could be opened.
const METADATA: [IpAddr; 10] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200)), // and by IPv6
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // Amazon, of a machine
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // and of a pod
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1)), // Linode
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // and by IPv6
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)), // Scaleway
];

/// Whether the user's settings may open this address to guests as part of a network. Not this machine's loopback, not what
/// reaches one link only, and not the services by which clouds hand out credentials: one of them is an exception by its own
/// address and port, or none.
pub fn may_be_opened(addr: IpAddr) -> bool {
    let addr = addr.to_canonical();
    let near = match addr {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.octets()[0] >= 224 || v4.is_loopback() || v4.is_link_local(),
        // Of IPv6 only private networks, and what is public in form: nothing that carries another address.
        IpAddr::V6(v6) => {
            let private = v6.segments()[0] & 0xfe00 == 0xfc00;
            let global = v6.segments()[0] >> 13 == 1;
            !(private || global) || embedded(v6).iter().any(Option::is_some)
        }
    };
    !near && !METADATA.contains(&addr)
}

/// Whether exactly this socket address is one of the exceptions.
pub fn excepted(addr: IpAddr, port: u16, allow: &[SocketAddr]) -> bool {
    allow.iter().any(|a| a.ip().to_canonical() == addr.to_canonical() && a.port() == port)
}

fn special_v4(addr: Ipv4Addr) -> Option<&'static str> {
    let inside = |first: [u8; 4], prefix: u32| (addr.to_bits() ^ u32::from_be_bytes(first)) >> (32 - prefix) == 0;
    V4.iter().find(|(first, prefix, _)| inside(*first, *prefix)).map(|(_, _, what)| *what)
}

fn special_v6(addr: Ipv6Addr) -> Option<&'static str> {
    // NAT64 and Teredo: as public as the IPv4 addresses inside, which are judged on their own.
    if matches!(addr.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x2001, 0, ..]) {
        return None;
    }
    let inside =
        |first: [u16; 8], prefix: u32| (addr.to_bits() ^ Ipv6Addr::from(first).to_bits()) >> (128 - prefix) == 0;
    let known = V6.iter().find(|(first, prefix, _)| inside(*first, *prefix)).map(|(_, _, what)| *what);
    // 2000::/3 is all that was ever handed out. IPv4-compatible addresses (::/96) are outside, and dead.
    let global = addr.segments()[0] >> 13 == 1;
    known.or((!global).then_some("not a public address"))
}

/// The IPv4 addresses inside an IPv6 address that some router may act upon.
fn embedded(addr: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let s = addr.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [v4(high, low), None], // NAT64
        [0x2002, high, low, ..] => [v4(high, low), None],               // 6to4
        [0x2001, 0, high, low, _, _, c, d] => [v4(high, low), v4(!c, !d)], // Teredo: its server, its client
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => [v4(high, low), None], // ISATAP
        _ => [None, None],
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
