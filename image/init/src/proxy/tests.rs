//! Heads of requests, on their own; whole connections are in the host's `tests/net`.

use super::request::{self, Bad, Request};
use proptest::prelude::{any, prop_assert, proptest};
use tokio::runtime::Builder;
use vmclaude_init::wire::proto::{Dialled, Target};

fn read(head: &[u8]) -> Result<Request, Bad> {
    Builder::new_current_thread().build().unwrap().block_on(request::read(&mut &head[..]))
}

fn target(request: &str) -> String {
    match read(format!("{request} HTTP/1.1\r\n\r\n").as_bytes()) {
        Ok(Request { target: Target::Name(name, port), .. }) => format!("name {name} {port}"),
        Ok(Request { target: Target::Addr(addr, port), .. }) => format!("addr {addr} {port}"),
        Err(bad) => String::from_utf8(bad.response()[9..12].to_vec()).unwrap(),
    }
}

#[test]
fn authorities_are_read_in_all_their_forms() {
    for (request, expected) in [
        ("CONNECT Example.com:8443", "name example.com 8443"),
        ("CONNECT example.com", "name example.com 443"),
        ("CONNECT example.com:", "name example.com 443"),
        ("CONNECT 192.0.2.1:22", "addr 192.0.2.1 22"),
        ("CONNECT [2001:db8::1]:22", "addr 2001:db8::1 22"),
        ("CONNECT [2001:db8::1]", "addr 2001:db8::1 443"),
        ("CONNECT 0x7f.1:80", "name 0x7f.1 80"),
        ("CONNECT 2130706433:80", "name 2130706433 80"),
        ("GET http://example.com", "name example.com 80"),
        ("GET HTTP://example.com:81?x", "name example.com 81"),
        ("GET http://[::1]/", "addr ::1 80"),
        ("DELETE http://a_b.example./x", "name a_b.example. 80"),
        ("CONNECT [::1]x:80", "400"),
        ("CONNECT []:80", "400"),
        ("CONNECT [127.0.0.1]:80", "400"),
        ("CONNECT :80", "400"),
        ("CONNECT a:1:2", "400"),
        ("CONNECT a/b:80", "400"),
        ("CONNECT a%00b:80", "400"),
        ("GET ftp://a/", "400"),
    ] {
        assert_eq!(target(request), expected, "{request}");
    }
}

#[test]
fn paths_become_origin_form() {
    for (method, uri, line) in [
        ("GET", "http://a", "GET / HTTP/1.1"),
        ("GET", "http://a?q#f", "GET /?q HTTP/1.1"),
        ("GET", "http://a/b//c?d/e", "GET /b//c?d/e HTTP/1.1"),
        ("OPTIONS", "http://a", "OPTIONS * HTTP/1.1"),
        ("PROPFIND", "http://a/x", "PROPFIND /x HTTP/1.1"),
    ] {
        let request = read(format!("{method} {uri} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let head = String::from_utf8(request.head).unwrap();
        assert_eq!(head, format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n"));
    }
    let old = read(b"GET http://a/ HTTP/1.0\r\n\r\n").unwrap();
    assert!(old.head.starts_with(b"GET / HTTP/1.0\r\n"));
}

#[test]
fn an_upgrade_stays_and_http2_does_not() {
    let websocket = b"GET http://a/ HTTP/1.1\r\nConnection: Upgrade, X-K\r\nUpgrade: websocket\r\nX-K: 1\r\n\r\n";
    let request = read(websocket).unwrap();
    assert_eq!(request.body, u64::MAX);
    let head = String::from_utf8(request.head).unwrap();
    assert!(head.ends_with("Upgrade: websocket\r\nX-K: 1\r\nConnection: Upgrade\r\n\r\n"), "{head}");

    let h2c =
        b"GET http://a/ HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
    let request = read(h2c).unwrap();
    assert_eq!(request.body, 0);
    assert_eq!(request.head, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
}

#[test]
fn fields_that_frame_the_body_cannot_be_talked_away() {
    let request =
        read(b"POST http://a/ HTTP/1.1\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert!(request.head.windows(19).any(|part| part == b"Content-Length: 5\r\n"));
    assert_eq!((request.body, request.rest.as_slice()), (5, &b"hello"[..]));
}

#[test]
fn a_refusal_says_whose_rule_it_is_and_what_allows_it() {
    let request = read(b"CONNECT 127.0.0.1:5432 HTTP/1.1\r\n\r\n").unwrap();
    let text = String::from_utf8(request.refused(Dialled::Forbidden).response()).unwrap();
    assert!(text.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("vmclaude does not let the VM reach 127.0.0.1:5432") && body.contains("--allow-host"));
    assert_eq!(body.lines().count(), 1);
    for (why, status) in [(Dialled::NoSuchName, "502"), (Dialled::Refused, "502"), (Dialled::Unreachable, "504")] {
        assert_eq!(&request.refused(why).response()[9..12], status.as_bytes());
    }
}

proptest! {
    #[test]
    fn no_head_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }

    /// What passes is safe to print and to put into a head.
    #[test]
    fn what_passes_is_a_plain_name(uri in "[ -~]{0,30}", method in "GET|CONNECT") {
        let head = format!("{method} {}{uri} HTTP/1.1\r\n\r\n", if method == "GET" { "http://" } else { "" });
        if let Ok(request) = read(head.as_bytes()) {
            if let Target::Name(name, _) = &request.target {
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{name}");
            }
            prop_assert!(request.head.iter().filter(|byte| **byte == b'\n').count() <= 4);
        }
    }
}
