//! The guest's network without a network card: TCP is handed to listeners of ours, everything else comes out of a TUN, and
//! all of it becomes streams on the wire.

mod netlink;
mod packet;
mod steer;
mod tcp;
mod tun;
mod udp;

use netlink::{Default, Netlink};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::proto::Network;

/// The guest's addresses. The first is reserved for hosts behind a translator, so that no network has it; the second is
/// made of random digits in the block for such addresses.
const OWN4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd5c, 0x71a3, 0x8e02, 0, 0, 0, 0, 2);
/// Where the guest asks for names. Any address does, port 53 is what counts; this is the one in `/etc/resolv.conf`.
const RESOLVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 1));
/// The routing table of connections: a number of no other table.
const TABLE: u32 = 100;
/// The TUN's packet size: the largest there is, so that no datagram is ever in pieces.
const MTU: u32 = 65_535;
/// How long the host may take to say whether it takes a datagram's flow.
const SOON: Duration = Duration::from_secs(35);

/// A network that nobody serves yet. Dropped, it is gone: the guest then has no way out and is told so at once.
pub(crate) struct Prepared {
    device: File,
    index: u32,
    caught: tcp::Caught,
}

/// Makes what of the network every guest has, before anything is known of this one.
///
/// # Errors
/// What the kernel cannot do; the proxies then are the only way out.
pub(crate) fn prepare() -> io::Result<Prepared> {
    let (device, index) = tun::open().map_err(|e| because("no interface", e))?;
    let caught = tcp::catch((OWN4, OWN6)).map_err(|e| because("connections cannot be caught", e))?;
    let mut kernel = Netlink::open()?;
    kernel.up(index, Some(MTU))?;
    family(&mut kernel, index, IpAddr::V4(OWN4))?;
    Ok(Prepared { device, index, caught })
}

/// Address, routes and rules of one family.
fn family(kernel: &mut Netlink, index: u32, own: IpAddr) -> io::Result<()> {
    kernel.address(index, own).map_err(|e| because("no address", e))?;
    kernel.default_route(Default::Through(index), own).map_err(|e| because("no default route", e))?;
    kernel.default_route(Default::Here(TABLE), own).map_err(|e| because("no route for connections", e))?;
    kernel.tcp_rules(TABLE, own).map_err(|e| because("no rule for connections", e))
}

/// Makes of it the network that `network` describes, and serves it in the background.
///
/// # Errors
/// What the kernel cannot do.
pub(crate) fn up(prepared: io::Result<Prepared>, network: &Network, wire: &Wire) -> io::Result<()> {
    resolver(network)?;
    let Prepared { device, index, caught } = prepared?;
    tokio::spawn(udp::serve(device, wire.clone(), network.datagrams));
    tcp::serve(caught, wire);
    if network.ipv6 {
        family(&mut Netlink::open()?, index, IpAddr::V6(OWN6))?;
    }
    Ok(())
}

/// Who answers questions for names. Of the host's settings only the domains to try are the guest's business.
fn resolver(network: &Network) -> io::Result<()> {
    let fine = |domain: &&String| domain.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let domains: Vec<&str> = network.search.iter().filter(fine).map(String::as_str).collect();
    let search = if domains.is_empty() { String::new() } else { format!("search {}\n", domains.join(" ")) };
    let file = std::path::Path::new("/etc/resolv.conf");
    let text = format!("nameserver {RESOLVER}\n{search}");
    let write = || std::fs::write(file, &text);
    // An image may have a link here, to a place that does not exist in it.
    let written = write().or_else(|_| std::fs::remove_file(file).and_then(|()| write()));
    written.map_err(|e| crate::sys::at("cannot write", file, e))
}

fn because(what: &str, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}
