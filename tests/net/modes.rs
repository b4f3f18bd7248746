//! What the list lets through, and the way through the host's own proxy.

use super::{LOOPBACK, proxy, read_head, server, wire};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vmclaude::net::{Denials, Policy, Upstream};
use vmclaude::plan::Network;
use vmclaude::plan::network::Mode;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::proto::{Dialled, MAX_TO_GUEST, Open, Target, receive};

/// The first message of a TLS client: made of the only parts that count.
fn client(name: &str) -> Vec<u8> {
    let vector = |n: usize, bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[4 - n..], bytes].concat();
    let list = vector(2, &[&[0][..], &vector(2, name.as_bytes())].concat());
    let extensions = vector(2, &[&[0, 0][..], &vector(2, &list)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    [&[22, 3, 1][..], &vector(2, &[&[1][..], &vector(3, &body)].concat())].concat()
}

async fn echo(mut tcp: TcpStream) -> std::io::Result<()> {
    let (mut from, mut to) = tcp.split();
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

/// A policy with this list, where `localhost` is a network of the company's and may be on this machine.
fn policy(mode: Mode, allow: &[String], here: SocketAddr) -> Arc<Policy> {
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    // The exception is for another name of the same place, so that the list is what decides.
    let network = Network { mode, allow, allow_hosts: vec![here], ..Network::default() };
    Arc::new(Policy::of(network, Upstream::default(), Denials::default()))
}

async fn dial(wire: &Wire, target: Target) -> (Stream, Option<Dialled>) {
    let mut stream = wire.open(&Open::Dial(target)).unwrap();
    let answer = receive(&mut stream, MAX_TO_GUEST).await.unwrap();
    (stream, answer)
}

/// What comes back of `say`; nothing when the connection is reset.
async fn say(mut stream: Stream, say: &[u8]) -> Vec<u8> {
    let mut back = vec![0; say.len()];
    let _ = stream.write_all(say).await;
    match stream.read_exact(&mut back).await {
        Ok(_) => back,
        Err(_) => Vec::new(),
    }
}

#[tokio::test]
async fn only_the_list_is_reached_and_only_under_its_name() {
    let here = server(echo).await;
    let name = |name: &str| Target::Name(name.into(), here.port());
    let listed = policy(Mode::Allowlist, &[format!("localhost:{}", here.port())], here);
    let guest = wire(&listed);
    for (hello, passes) in
        [("localhost", true), ("LOCALHOST", true), ("evil.example", false), ("localhost.evil", false)]
    {
        let (stream, answer) = dial(&guest, name("localhost")).await;
        assert_eq!(answer, Some(Dialled::Ok));
        assert_eq!(!say(stream, &client(hello)).await.is_empty(), passes, "{hello}");
    }
    // What is not TLS may be spoken on a port that was listed by itself.
    assert_eq!(say(dial(&guest, name("localhost")).await.0, b"SSH-2.0-x").await, b"SSH-2.0-x");
    for other in
        ["localhost.evil", "evil.example", "x.localhost", "127.1", "2130706433", "0x7f.1", "localhost.localdomain"]
    {
        assert_eq!(dial(&guest, name(other)).await.1, Some(Dialled::NotListed), "{other}");
    }
    let port = Target::Name("localhost".into(), 1);
    assert_eq!(dial(&guest, port).await.1, Some(Dialled::NotListed));
    assert_eq!(dial(&guest, Target::Addr([9, 9, 9, 9].into(), 443)).await.1, Some(Dialled::NotListed));
    let denied: Vec<String> = listed.denials().iter().map(ToString::to_string).collect();
    assert!(denied[0].contains("its TLS server name is not the listed one"), "{denied:?}");
    assert!(denied.iter().any(|d| d.starts_with("evil.example:")) && denied.len() == 10, "{denied:?}");
}

#[tokio::test]
async fn an_empty_list_is_nothing_and_so_is_no_network() {
    let here = server(echo).await;
    for (mode, to_exception) in [(Mode::Allowlist, Dialled::Ok), (Mode::None, Dialled::NotListed)] {
        let guest = wire(&policy(mode, &[], here));
        for target in [Target::Name("localhost".into(), here.port()), Target::Addr([9, 9, 9, 9].into(), 443)] {
            assert_eq!(dial(&guest, target.clone()).await.1, Some(Dialled::NotListed), "{mode:?} {target:?}");
        }
        assert_eq!(dial(&guest, Target::Addr(here.ip(), here.port())).await.1, Some(to_exception), "{mode:?}");
        let mut stream = guest.open(&Open::Udp([9, 9, 9, 9].into(), 443)).unwrap();
        assert_eq!(receive(&mut stream, MAX_TO_GUEST).await.unwrap(), Some(Dialled::NotListed));
    }
}

/// A proxy of a company's: it takes CONNECT, notes what for, and answers itself.
async fn company(status: &'static str) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = asked.clone();
    let addr = server(move |mut tcp| {
        let noted = noted.clone();
        async move {
            let head = read_head(&mut tcp).await?;
            noted.lock().unwrap().push(head);
            tcp.write_all(format!("HTTP/1.1 {status}\r\nX: y\r\n\r\nhello").as_bytes()).await
        }
    })
    .await;
    (addr, asked)
}

#[tokio::test]
async fn the_hosts_own_proxy_is_the_way_out_and_the_target_is_judged_first() {
    let (addr, asked) = company("200 OK").await;
    let url = format!("http://you:secret@{addr}");
    let upstream = Upstream::of(|name| (name == "https_proxy").then_some(url.as_str()));
    let policy = Arc::new(Policy::of(Network::default(), upstream, Denials::default()));
    let guest = wire(&policy);
    let (mut stream, answer) = dial(&guest, Target::Name("nowhere.invalid".into(), 443)).await;
    assert_eq!(answer, Some(Dialled::Ok));
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello", "what the server says first is not lost");
    assert_eq!(dial(&guest, Target::Addr([9, 9, 9, 9].into(), 443)).await.1, Some(Dialled::Ok));
    let heads = asked.lock().unwrap().clone();
    assert!(heads[0].starts_with("CONNECT nowhere.invalid:443 HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("Proxy-Authorization: Basic eW91OnNlY3JldA==\r\n"));
    assert!(heads[1].starts_with("CONNECT 9.9.9.9:443 "), "{heads:?}");
    for target in [
        Target::Name("localhost".into(), 443),
        Target::Addr([10, 0, 0, 1].into(), 443),
        Target::Name("127.1".into(), 443),
        Target::Addr(addr.ip(), addr.port()),
    ] {
        let answer = dial(&guest, target.clone()).await.1;
        assert!(matches!(answer, Some(Dialled::Forbidden)), "{target:?}: {answer:?}");
    }
    for name in ["0x7f000001.", "x.localhost", "a b"] {
        let answer = dial(&guest, Target::Name(name.into(), 443)).await.1;
        assert!(answer != Some(Dialled::Ok), "{name}: {answer:?}");
    }
    assert_eq!(asked.lock().unwrap().len(), 2, "nothing else was asked of the proxy");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_no_way_out() {
    for status in ["403 Forbidden", "407 Who are you", "20", "junk"] {
        let (addr, _) = company(status).await;
        let url = format!("{addr}");
        let upstream = Upstream::of(|name| (name == "all_proxy").then_some(url.as_str()));
        let policy = Arc::new(Policy::of(Network::default(), upstream, Denials::default()));
        let answer = dial(&wire(&policy), Target::Name("nowhere.invalid".into(), 443)).await.1;
        assert_eq!(answer, Some(Dialled::Unreachable), "{status}");
    }
}

/// The guest's HTTP proxy says what to type when a list is in the way.
#[tokio::test]
async fn a_refusal_says_what_would_allow_it() {
    let listener = super::proxy::listen(LOOPBACK).unwrap();
    let addr = listener.local_addr().unwrap();
    let here = SocketAddr::from(([127, 0, 0, 1], 9));
    tokio::spawn(super::proxy::serve(listener, wire(&policy(Mode::Allowlist, &[], here))));
    let answer = super::talk(addr, b"CONNECT a.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("--allow a.example:443"), "{answer}");
    let (open, _) = proxy(vec![]).await;
    assert!(super::talk(open, b"CONNECT 10.0.0.1:443 HTTP/1.1\r\n\r\n").await.contains("--allow-host"));
}
