//! Interfaces, addresses, routes and rules, by the few messages of rtnetlink that this needs.

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, socket,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Message types and attributes of linux/rtnetlink.h and linux/fib_rules.h.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWRULE: u16 = 32;
const NEW: u16 = 0x0405; // NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const FRA_PRIORITY: u16 = 6;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_IP_PROTO: u16 = 22;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const TABLE_MAIN: u32 = 254;

/// What kind of default route.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// Through an interface, in the main table.
    Through(u32),
    /// To this very machine, in the table with this number.
    Here(u32),
}

/// A conversation with the kernel.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Netlink> {
        let kind = SockType::Raw;
        let socket = socket(AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Brings an interface up, with this MTU.
    pub(super) fn up(&mut self, index: u32, mtu: Option<u32>) -> io::Result<()> {
        let up = libc::IFF_UP.cast_unsigned();
        let mut body = [0, index, up, up].map(u32::to_ne_bytes).concat();
        if let Some(mtu) = mtu {
            attribute(&mut body, IFLA_MTU, &mtu.to_ne_bytes());
        }
        self.ask(RTM_NEWLINK, &body)
    }

    /// Gives an interface an address that is alone in its network.
    pub(super) fn address(&mut self, index: u32, addr: IpAddr) -> io::Result<()> {
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let mut body = vec![family(addr), bits, 0, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &octets(addr));
        attribute(&mut body, IFA_ADDRESS, &octets(addr));
        attribute(&mut body, IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        self.ask(RTM_NEWADDR, &body)
    }

    /// A default route, for packets that then come from `source`.
    pub(super) fn default_route(&mut self, route: Default, source: IpAddr) -> io::Result<()> {
        let (index, table, kind) = match route {
            Default::Through(index) => (index, TABLE_MAIN, RTN_UNICAST),
            Default::Here(table) => (1, table, RTN_LOCAL), // the loopback is always interface 1
        };
        // family, lengths of destination and source, tos, table (as an attribute), protocol boot, scope, kind
        let scope = if kind == RTN_LOCAL { 254 } else { 0 };
        let mut body = vec![family(source), 0, 0, 0, 0, 3, scope, kind, 0, 0, 0, 0];
        attribute(&mut body, RTA_TABLE, &table.to_ne_bytes());
        attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
        attribute(&mut body, RTA_PREFSRC, &octets(source));
        self.ask(RTM_NEWROUTE, &body)
    }

    /// Sends TCP to `table`, except where the main table knows better than by its default route: a network of the guest's
    /// own making, such as a container's.
    pub(super) fn tcp_rules(&mut self, table: u32, like: IpAddr) -> io::Result<()> {
        let head = [family(like), 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]; // action: to a table
        let mut main = head.to_vec();
        attribute(&mut main, FRA_PRIORITY, &100u32.to_ne_bytes());
        attribute(&mut main, FRA_TABLE, &TABLE_MAIN.to_ne_bytes());
        attribute(&mut main, FRA_SUPPRESS_PREFIXLEN, &0u32.to_ne_bytes());
        self.ask(RTM_NEWRULE, &main)?;
        let mut ours = head.to_vec();
        attribute(&mut ours, FRA_PRIORITY, &101u32.to_ne_bytes());
        attribute(&mut ours, FRA_TABLE, &table.to_ne_bytes());
        attribute(&mut ours, FRA_IP_PROTO, &[libc::IPPROTO_TCP as u8]);
        self.ask(RTM_NEWRULE, &ours)
    }

    /// One request and its acknowledgement.
    fn ask(&mut self, kind: u16, body: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(NEW.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let n = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        // An acknowledgement is an error message whose error is zero.
        let error = answer.get(16..20).filter(|_| n >= 20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        match error {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn family(addr: IpAddr) -> u8 {
    (if addr.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
