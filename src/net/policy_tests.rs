//! The rule against tables that were written down independently of it.

use super::{Here, Verdict, excepted, verdict};
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// All of IPv4 that is public, as intervals; everything between them is not.
const PUBLIC: &[(&str, &str)] = &[
    ("1.0.0.0", "9.255.255.255"),
    ("11.0.0.0", "100.63.255.255"),
    ("100.128.0.0", "126.255.255.255"),
    ("128.0.0.0", "168.63.129.15"),
    ("168.63.129.17", "169.253.255.255"),
    ("169.255.0.0", "172.15.255.255"),
    ("172.32.0.0", "191.255.255.255"),
    ("192.0.1.0", "192.0.1.255"),
    ("192.0.3.0", "192.88.98.255"),
    ("192.88.100.0", "192.167.255.255"),
    ("192.169.0.0", "198.17.255.255"),
    ("198.20.0.0", "198.51.99.255"),
    ("198.51.101.0", "203.0.112.255"),
    ("203.0.114.0", "223.255.255.255"),
];

fn intervals() -> Vec<(u32, u32)> {
    let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
    PUBLIC.iter().map(|(first, last)| (bits(first), bits(last))).collect()
}

fn is_public(addr: Ipv4Addr) -> bool {
    intervals().iter().any(|(first, last)| (*first..=*last).contains(&addr.to_bits()))
}

fn allowed(addr: impl Into<IpAddr>) -> bool {
    verdict(addr.into(), 443, &Here::default(), &[]) == Verdict::Allow
}

/// A machine with these addresses in these networks.
fn here(addresses: &[&str], networks: &[&str]) -> Here {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    Here { addresses, networks: networks.iter().map(|text| text.parse().unwrap()).collect() }
}

/// What the blocks leave over is exactly what the intervals name: all 2^32 addresses, by their ends.
#[test]
fn the_ipv4_blocks_leave_exactly_the_public_intervals() {
    let mut blocks: Vec<(u64, u64)> = super::V4
        .iter()
        .map(|(first, prefix, _)| (u64::from(u32::from_be_bytes(*first)), 1u64 << (32 - prefix)))
        .map(|(first, size)| (first, first + size))
        .collect();
    blocks.sort_unstable();
    blocks.push((1 << 32, 1 << 32));
    let mut from = 0;
    let mut left = Vec::new();
    for (first, end) in blocks {
        if first > from {
            left.push((from as u32, (first - 1) as u32));
        }
        from = from.max(end);
    }
    assert_eq!(left, intervals());
}

/// The function agrees with the intervals: the last two and the first two addresses at every change, and both ends of
/// every /16.
#[test]
fn ipv4_is_judged_right_everywhere() {
    let ends = intervals()
        .into_iter()
        .flat_map(|(first, last)| [first - 2, first - 1, first, first + 1, last - 1, last, last + 1, last + 2]);
    let blocks = (0..1u32 << 16).flat_map(|block| [block << 16, block << 16 | 0xffff]);
    for addr in ends.chain(blocks).map(Ipv4Addr::from) {
        assert_eq!(allowed(addr), is_public(addr), "{addr}");
    }
}

#[test]
fn ipv6_beside_the_public_internet_is_refused() {
    let refused = [
        "::",
        "::1",
        "::7f00:1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "100::1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::192.168.1.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:ffff::10.0.0.1",
        "64:ff9b:2::8.8.8.8",
        "2001::1",
        "2001:db8::1",
        "2001:10::1",
        "2001:2::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2002:c0a8:101::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ffff::",
        "4000::1",
        "2600::5efe:10.0.0.1",
        "2600::200:5efe:127.0.0.1",
    ]; // the last two: ISATAP
    for text in refused {
        assert!(!allowed(text.parse::<Ipv6Addr>().unwrap()), "{text}");
    }
    let public = [
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450::1",
        "3ffe::1",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
        "2002:808:808::1",
        "2003::1",
    ];
    for text in public {
        assert!(allowed(text.parse::<Ipv6Addr>().unwrap()), "{text}");
    }
}

#[test]
fn a_teredo_address_is_judged_by_its_server_and_its_client() {
    let teredo = |server: [u8; 4], client: [u8; 4]| {
        let high = u128::from(u32::from_be_bytes(server)) << 64;
        Ipv6Addr::from(0x2001_0000_u128 << 96 | high | u128::from(!u32::from_be_bytes(client)))
    };
    assert!(allowed(teredo([8, 8, 8, 8], [9, 9, 9, 9])));
    assert!(!allowed(teredo([127, 0, 0, 1], [9, 9, 9, 9])));
    assert!(!allowed(teredo([8, 8, 8, 8], [192, 168, 0, 1])));
}

#[test]
fn the_hosts_own_addresses_are_refused_in_every_form() {
    let here = here(&["8.8.4.4", "2a00::5"], &[]);
    for text in ["8.8.4.4", "::ffff:8.8.4.4", "64:ff9b::8.8.4.4", "2002:808:404::1", "2a00::5"] {
        let addr = text.parse::<IpAddr>().unwrap();
        assert_eq!(verdict(addr, 80, &here, &[]), Verdict::Deny("this machine's own address"), "{text}");
        assert_eq!(verdict(addr, 80, &Here::default(), &[]), Verdict::Allow, "{text}");
        assert_eq!(verdict(addr, 80, &here, &[SocketAddr::new(addr, 80)]), Verdict::Allow, "{text}");
    }
}

#[test]
fn the_hosts_neighbours_are_refused_in_every_form_and_nobody_else_is() {
    let here = here(&["8.8.4.4", "2a00::5"], &["8.8.4.4/24", "2a00::5/64", "9.1.2.3/32"]);
    let ask = |text: &str| verdict(text.parse().unwrap(), 80, &here, &[]);
    for text in
        ["8.8.4.1", "::ffff:8.8.4.255", "64:ff9b::8.8.4.5", "2002:808:407::1", "2a00::1", "2a00::f:f:f:f", "9.1.2.3"]
    {
        let addr = text.parse::<IpAddr>().unwrap();
        assert_eq!(ask(text), Verdict::Deny("this machine's own network"), "{text}");
        assert_eq!(verdict(addr, 80, &here, &[SocketAddr::new(addr, 80)]), Verdict::Allow, "{text}");
    }
    for text in ["8.8.5.1", "8.8.3.255", "2a00:0:0:1::5", "2a00:1::5", "9.1.2.4"] {
        assert_eq!(ask(text), Verdict::Allow, "{text}");
    }
    assert_eq!(ask("2a00::5"), Verdict::Deny("this machine's own address"));
}

#[test]
fn an_exception_is_one_socket_address() {
    let allow = ["127.0.0.1:5432".parse().unwrap(), "[::1]:80".parse().unwrap()];
    let ask = |text: &str| {
        let addr: SocketAddr = text.parse().unwrap();
        verdict(addr.ip(), addr.port(), &Here::default(), &allow) == Verdict::Allow
    };
    assert!(ask("127.0.0.1:5432") && ask("[::ffff:127.0.0.1]:5432") && ask("[::1]:80"));
    for other in ["127.0.0.1:5433", "127.0.0.2:5432", "[::1]:5432", "[64:ff9b::7f00:1]:5432", "0.0.0.0:5432", "[::]:80"]
    {
        assert!(!ask(other), "{other}");
    }
    assert!(!excepted("127.0.0.1".parse().unwrap(), 5432, &[]));
}

#[test]
fn settings_open_networks_but_never_this_machine() {
    let opens = |text: &str| super::may_be_opened(text.parse().unwrap());
    for fine in
        ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.1.1", "198.18.0.1", "fd12::1", "203.0.113.1", "2001:db8::1"]
    {
        assert!(opens(fine), "{fine}");
    }
    for never in [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd00:100::100:200",
        "fd00:a9fe:a9fe::1",
        "fd20:ce::254",
        "fd00:42::42",
        "fd00::5efe:127.0.0.1",
    ] {
        assert!(!opens(never), "{never}");
    }
}

/// Addresses of every kind that matters, with anything in the rest.
fn addresses() -> impl Strategy<Value = Ipv6Addr> {
    let starts = prop_oneof![
        Just(0u128),
        Just(0xffff << 32),
        Just(0x64_ff9b << 96),
        Just(0x64_ff9b_0001 << 80),
        Just(0x2002 << 112),
        Just(0x2001 << 112),
        Just(0x2001_0db8 << 96),
        Just(0x3fff << 112),
        Just(0xfc00 << 112),
        Just(0xfe80 << 112),
        Just(0xff02 << 112),
        any::<u128>(),
    ];
    (starts, any::<u128>(), 0u32..=128)
        .prop_map(|(start, rest, bits)| Ipv6Addr::from(start | rest.checked_shr(bits).unwrap_or(0)))
}

proptest! {
    /// What is allowed is inside 2000::/3, or carries a public IPv4 address, and never lies in a forbidden block.
    #[test]
    fn ipv6_by_property(addr in addresses()) {
        let s = addr.segments();
        let last = Ipv4Addr::from(addr.to_bits() as u32);
        let expected = if s[..6] == [0, 0, 0, 0, 0, 0xffff] || s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
            is_public(last)
        } else {
            let isatap = s[4] & !0x200 == 0 && s[5] == 0x5efe;
            let teredo = s[0] == 0x2001 && s[1] == 0;
            let inner = |shift: u32| Ipv4Addr::from((addr.to_bits() >> shift) as u32);
            (0x2000..0x4000).contains(&s[0])
                && (s[0] != 0x2001 || (s[1] >= 0x200 || teredo) && s[1] != 0xdb8)
                && !(s[0] == 0x3fff && s[1] < 0x1000)
                && (s[0] != 0x2002 || is_public(inner(80)))
                && (!teredo || is_public(inner(64)) && is_public(Ipv4Addr::from(!last.to_bits())))
                && (!isatap || s[0] == 0x2002 || teredo || is_public(last))
        };
        prop_assert_eq!(allowed(addr), expected, "{}", addr);
    }

    /// IPv4 in any wrapping is never judged more kindly than bare.
    #[test]
    fn wrapping_never_helps(bits in any::<u32>(), low in any::<u64>()) {
        let v4 = Ipv4Addr::from(bits);
        let wide = u128::from(bits);
        for prefix in [0xffff_u128 << 32, 0x64_ff9b_u128 << 96, 0x64_ff9b_0001_u128 << 80, 0] {
            prop_assert!(allowed(v4) || !allowed(Ipv6Addr::from(prefix | wide)));
        }
        let six_to_four = Ipv6Addr::from(0x2002_u128 << 112 | wide << 80 | u128::from(low));
        prop_assert!(allowed(v4) || !allowed(six_to_four));
    }

    /// One of this machine's own addresses is refused whatever it is.
    #[test]
    fn own_is_own(bits in any::<u128>(), port in any::<u16>()) {
        let addr = IpAddr::V6(Ipv6Addr::from(bits)).to_canonical();
        let here = Here { addresses: vec![addr], ..Here::default() };
        prop_assert!(verdict(addr, port, &here, &[]) != Verdict::Allow);
    }
}
