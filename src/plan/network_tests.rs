//! What entries mean, and which are refused.

use super::{Listed, Local, Mode, name};
use std::net::IpAddr;

fn listed(text: &str) -> Listed {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

#[test]
fn an_entry_means_exactly_what_it_says() {
    let plain = listed("Registry.Example.com.");
    assert!(plain.covers_name("registry.example.com", 443));
    for (name, port) in [
        ("registry.example.com", 80),
        ("x.registry.example.com", 443),
        ("evilregistry.example.com", 443),
        ("registry.example.com.evil", 443),
        ("example.com", 443),
    ] {
        assert!(!plain.covers_name(name, port), "{name}:{port}");
    }
    let below = listed("*.example.org:8443");
    assert!(below.covers_name("a.example.org", 8443) && below.covers_name("a.b.example.org", 8443));
    for name in ["example.org", ".example.org", "xexample.org", "a.example.org.evil", "a.example.com"] {
        assert!(!below.covers_name(name, 8443), "{name}");
    }
    let addr = listed("9.9.9.9:53");
    let ip = |text: &str| text.parse::<IpAddr>().expect("address");
    assert!(addr.covers_addr(ip("9.9.9.9"), 53) && addr.covers_addr(ip("::ffff:9.9.9.9"), 53));
    assert!(!addr.covers_addr(ip("9.9.9.9"), 443) && !addr.covers_name("9.9.9.9", 53));
    assert!(listed("[2600::1]:22").covers_addr(ip("2600::1"), 22) && listed("2600::1").covers_addr(ip("2600::1"), 443));
}

#[test]
fn what_is_no_entry_is_refused() {
    for text in [
        "",
        "*",
        "*.",
        ".",
        "a..b",
        "a:b",
        "a:0",
        "a:70000",
        "a:+1",
        "a:",
        "a b",
        "a/b",
        "a@b",
        "a%b",
        "a\0.b",
        "http://a",
        "**.a",
        "a.*.b",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0x7f000001",
        "*.1",
        "1.2.3.4.5",
        "[::1",
        "[::1]x",
        "[a]:1",
        "é.b",
    ] {
        assert!(text.parse::<Listed>().is_err(), "{text:?}");
    }
    assert!(name(&"a".repeat(64)).is_none() && name("1.2.3.example").is_some() && name("x.0").is_none());
    assert!("opened".parse::<Mode>().is_err() && "none".parse::<Mode>().is_ok_and(|m| m == Mode::None));
}

#[test]
fn a_local_place_is_a_name_or_a_block() {
    let ip = |text: &str| text.parse::<IpAddr>().expect("address");
    let local = |text: &str| text.parse::<Local>().unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let block = local("10.1.0.0/16");
    assert!(block.covers(ip("10.1.255.255"), &[]) && block.covers(ip("::ffff:10.1.0.1"), &[]));
    assert!(!block.covers(ip("10.2.0.0"), &[]) && !block.covers(ip("::a01:1"), &[]));
    assert!(local("fd00:1::/32").covers(ip("fd00:1:ffff::1"), &[]));
    assert!(local("10.1.2.3").covers(ip("10.1.2.3"), &[]) && !local("10.1.2.3").covers(ip("10.1.2.4"), &[]));
    assert!(local("git.Corp").covers(ip("10.9.9.9"), &["git.corp".into()]));
    assert!(!local("git.corp").covers(ip("10.9.9.9"), &["x.git.corp".into(), "git.corp.evil".into()]));
    for text in ["", "10.0.0.0/7", "0.0.0.0/0", "10.0.0.0/33", "10.0.0.0/x", "a/8", "::/0", "10.1", "*.corp", "a:80"] {
        assert!(text.parse::<Local>().is_err(), "{text:?}");
    }
}
