//! IP packets by hand: UDP both ways, and "unreachable" for all else, so that nothing has to wait for an answer that will
//! not come.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// How much of a packet an ICMP error quotes: its headers, and what tells programs which socket it was.
const QUOTE: usize = 128;

/// A packet of the guest's, as far as we care.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A datagram: from, to, content.
    Udp(SocketAddr, SocketAddr, &'a [u8]),
    /// Something that will not be carried and should be told so.
    Reject,
    /// Something that nobody waits for: fragments, multicast chatter, nonsense.
    Ignore,
}

/// Source, destination, protocol and content of a whole packet.
fn split(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let header = packet.get(..20)?;
            let (start, total) = (usize::from(header[0] & 15) * 4, usize::from(u16_at(header, 2)?));
            let fragment = u16_at(header, 6)? & 0x3fff != 0;
            let payload = packet.get(start.max(20)..total)?;
            let ip = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).ok().map(|b| IpAddr::V4(Ipv4Addr::from(b)));
            (!fragment).then_some((ip(12)?, ip(16)?, header[9], payload))
        }
        6 => {
            let header = packet.get(..40)?;
            let payload = packet.get(40..40 + usize::from(u16_at(header, 4)?))?;
            let ip = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).ok().map(|b| IpAddr::V6(Ipv6Addr::from(b)));
            Some((ip(8)?, ip(24)?, header[6], payload))
        }
        _ => None,
    }
}

/// Understands a packet that came from the guest's kernel.
pub(super) fn parse(packet: &[u8]) -> Packet<'_> {
    let Some((from, to, protocol, payload)) = split(packet) else { return Packet::Ignore };
    let nobody = |ip: IpAddr| ip.is_multicast() || ip.is_unspecified();
    if nobody(from) || nobody(to) || to == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Packet::Ignore;
    }
    match protocol {
        UDP => udp_of(from, to, payload).unwrap_or(Packet::Ignore),
        // An error must not be answered by an error; of the rest only an echo request waits for something.
        ICMP if payload.first() != Some(&8) => Packet::Ignore,
        ICMP6 if payload.first() != Some(&128) => Packet::Ignore,
        _ => Packet::Reject,
    }
}

fn udp_of(from: IpAddr, to: IpAddr, payload: &[u8]) -> Option<Packet<'_>> {
    let (source, target, length) = (u16_at(payload, 0)?, u16_at(payload, 2)?, usize::from(u16_at(payload, 4)?));
    let content = payload.get(8..length)?;
    (target != 0).then_some(Packet::Udp(SocketAddr::new(from, source), SocketAddr::new(to, target), content))
}

/// A datagram as a packet; `None` when it is too long or the families differ.
pub(super) fn udp(from: SocketAddr, to: SocketAddr, content: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + content.len()).ok()?;
    let mut payload = [from.port().to_be_bytes(), to.port().to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    payload.extend_from_slice(content);
    let sum = match checksum(&[&pseudo(from.ip(), to.ip(), UDP, payload.len()), &payload]) {
        0 => 0xffff, // zero means: none
        sum => sum,
    };
    payload[6..8].copy_from_slice(&sum.to_be_bytes());
    packet(from.ip(), to.ip(), UDP, &payload)
}

/// The answer to a packet that is not carried: an ICMP error from where it wanted to go. A refused port for datagrams,
/// which makes their senders give up at once.
pub(super) fn unreachable(original: &[u8]) -> Option<Vec<u8>> {
    let (from, to, protocol, _) = split(original)?;
    let (kind, code) = match (to.is_ipv4(), protocol == UDP) {
        (true, true) => (3, 3),
        (true, false) => (3, 13),
        (false, true) => (1, 4),
        (false, false) => (1, 1),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&original[..original.len().min(QUOTE)]);
    let (number, pseudo) = match to {
        IpAddr::V4(_) => (ICMP, Vec::new()),
        IpAddr::V6(_) => (ICMP6, pseudo(to, from, ICMP6, message.len())),
    };
    let sum = checksum(&[&pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(to, from, number, &message)
}

fn packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packet = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + payload.len()).ok()?.to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(payload.len()).ok()?.to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => return None,
    };
    packet.extend_from_slice(payload);
    Some(packet)
}

/// What a checksum covers beside the payload.
fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for ip in [from, to] {
        match ip {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend([0, protocol]);
    // The length's upper half is zero here, so that one form does for both families.
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    bytes
}

/// The Internet's checksum over pieces of which all but the last are of even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !(sum as u16)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::{Packet, parse, udp, unreachable};
    use proptest::prelude::*;

    #[test]
    fn datagrams_survive_the_round() {
        for (from, to) in [("192.0.0.2:5353", "9.9.9.9:443"), ("[fd00::2]:1", "[2600::1]:65535")] {
            let (from, to) = (from.parse().expect("address"), to.parse().expect("address"));
            for size in [0, 1, 1400, 65_000] {
                let content = vec![0xa5; size];
                let packet = udp(from, to, &content).expect("fits");
                assert_eq!(parse(&packet), Packet::Udp(from, to, &content));
                let error = unreachable(&packet).expect("an answer");
                assert_eq!(parse(&error), Packet::Ignore, "no error for an error");
            }
            assert!(udp(from, to, &vec![0; 65_530]).is_none() || from.is_ipv6());
            assert!(udp(from, to, &vec![0; 65_600]).is_none());
        }
    }

    #[test]
    fn a_known_packet_has_the_known_checksums() {
        // Written down from a capture of another system's stack.
        let packet = udp("10.0.0.1:4660".parse().expect("address"), "10.0.0.2:22136".parse().expect("address"), b"ab");
        let packet = packet.expect("fits");
        let sum = |bytes: &[u8]| bytes.chunks(2).map(|p| u32::from(p[0]) << 8 | u32::from(p[1])).sum::<u32>();
        let fold = |s: u32| (s & 0xffff) + (s >> 16);
        assert_eq!(fold(sum(&packet[..20])), 0xffff);
        assert_eq!(fold(fold(sum(&packet[12..]) + 17 + 10)), 0xffff);
    }

    #[test]
    fn echo_is_rejected_and_chatter_ignored() {
        let mut echo = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 0, 2, 9, 9, 9, 9, 8, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(parse(&echo), Packet::Reject);
        assert!(unreachable(&echo).is_some());
        echo[20] = 3;
        assert_eq!(parse(&echo), Packet::Ignore);
        echo[16] = 224;
        echo[20] = 8;
        assert_eq!(parse(&echo), Packet::Ignore);
    }

    proptest! {
        #[test]
        fn no_packet_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..120), first in 0x40u8..0x70) {
            let mut bytes = bytes;
            if let Some(b) = bytes.first_mut() { *b = first; }
            let _ = parse(&bytes);
            let _ = unreachable(&bytes);
        }
    }
}
