//! A canary on this machine, reached for by every spelling and through every door. Each attack has its control: the same
//! request succeeds once the address is allowed.

use super::{proxy, server, talk, wire};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vmclaude::net::Policy;
use vmclaude::net::policy::{Here, Verdict, verdict};
use vmclaude_init::wire::proto::{Dialled, MAX_TO_GUEST, Open, Target, receive};

/// A server that counts who reaches it.
async fn canary(ip: IpAddr) -> Option<(SocketAddr, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind((ip, 0)).await.ok()?;
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            counter.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ntweet").await;
                let _ = tcp.shutdown().await;
                tokio::io::copy(&mut tcp, &mut tokio::io::sink()).await
            });
        }
    });
    Some((addr, count))
}

/// An address of this machine that is not the loopback, if it has one. Nothing is sent: UDP only looks up a route.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_loopback())
}

/// Places around this machine, and forms of address that lead into it.
const ELSEWHERE: &[&str] = &[
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "224.0.0.1",
    "255.255.255.255",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2001:0:7f00:1::f7f7:f7f7",
    "::7f00:1",
    "fe80::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
];

#[derive(Debug, Clone, Copy)]
enum Door {
    Connect,
    Plain,
    Forward,
    Socks,
    /// What the redirection does: the address itself, or nothing.
    Caught,
}

const DOORS: [Door; 5] = [Door::Connect, Door::Plain, Door::Forward, Door::Socks, Door::Caught];

/// Reaches for `host`:`port` through a door; whether the canary sang.
async fn reach(door: Door, host: &str, port: u16, policy: &Arc<Policy>, proxy: SocketAddr) -> bool {
    match door {
        Door::Connect => {
            let answer = talk(proxy, format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n").as_bytes()).await;
            assert!(answer.contains("tweet") || answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
            answer.contains("tweet")
        }
        Door::Plain => {
            let answer = talk(proxy, format!("GET http://{host}:{port}/ HTTP/1.1\r\n\r\n").as_bytes()).await;
            assert!(answer.contains("tweet") || answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
            answer.contains("tweet")
        }
        Door::Socks => socks(host.trim_matches(['[', ']']), port, policy).await,
        Door::Forward | Door::Caught => {
            let target = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => Target::Addr(ip, port),
                Err(_) => Target::Name(host.into(), port),
            };
            let listener = super::proxy::listen(super::LOOPBACK).unwrap();
            let door = listener.local_addr().unwrap();
            let task = tokio::spawn(super::proxy::forward(listener, target, wire(policy)));
            let mut answer = String::new();
            let read = TcpStream::connect(door).await.unwrap().read_to_string(&mut answer).await;
            task.abort();
            assert!(read.is_ok() || read.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset), "{host}");
            answer.contains("tweet")
        }
    }
}

/// Through the SOCKS proxy: always as a name, as `socks5h` does, and addresses as addresses too.
async fn socks(host: &str, port: u16, policy: &Arc<Policy>) -> bool {
    let listener = super::proxy::listen(super::LOOPBACK).unwrap();
    let door = listener.local_addr().unwrap();
    let task = tokio::spawn(super::proxy::serve_socks(listener, wire(policy)));
    let place = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => [&[4][..], &v6.octets()].concat(),
        _ => [&[3, host.len() as u8][..], host.as_bytes()].concat(),
    };
    let request = [&[5, 1, 0, 5, 1, 0][..], &place, &port.to_be_bytes()].concat();
    let mut tcp = TcpStream::connect(door).await.unwrap();
    tcp.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    task.abort();
    assert!(matches!(answer[..4], [5, 0, 5, 0 | 2]), "{host}: {answer:?}");
    answer.ends_with(b"tweet")
}

/// Runs one spelling through all doors, forbidden and allowed; how many attacks that were, each with its control.
async fn attack(host: &str, listen: IpAddr, allow: IpAddr) -> usize {
    let Some((addr, count)) = canary(listen).await else {
        return 0; // no IPv6 here
    };
    let allow = SocketAddr::new(allow, addr.port());
    let (closed_proxy, closed) = proxy(vec![]).await;
    let (open_proxy, open) = proxy(vec![allow]).await;
    for door in DOORS {
        assert!(!reach(door, host, addr.port(), &closed, closed_proxy).await, "{host} through {door:?}");
        assert_eq!(count.load(SeqCst), 0, "{host} through {door:?}: the canary was touched");
        assert!(reach(door, host, addr.port(), &open, open_proxy).await, "{host} through {door:?}: the control");
        assert_eq!(count.swap(0, SeqCst), 1);
    }
    let denials = closed.denials();
    assert_eq!(
        denials.iter().map(|denial| denial.addr.unwrap().port()).collect::<Vec<_>>(),
        [addr.port()],
        "{denials:?}"
    );
    DOORS.len()
}

#[tokio::test]
async fn this_machine_cannot_be_reached_by_any_spelling() {
    let v4: IpAddr = [127, 0, 0, 1].into();
    let v6: IpAddr = "::1".parse().unwrap();
    let spellings = [
        "127.0.0.1",
        "localhost",
        "LocalHost",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F000001",
        "0x7f.1",
        "0177.0.0.1",
        "0x7f.0.0x0.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
    ];
    let mut failed = 0;
    for host in spellings {
        failed += attack(host, v4, v4).await;
    }
    failed += attack("127.9.9.9", [127, 9, 9, 9].into(), [127, 9, 9, 9].into()).await;
    failed += attack("[::1]", v6, v6).await;
    failed += attack("[0:0:0:0:0:0:0:1]", v6, v6).await;
    failed += attack("[::]", v6, "::".parse().unwrap()).await;
    for host in ["0.0.0.0", "0", "0x0", "[::ffff:0.0.0.0]"] {
        failed += attack(host, v4, [0, 0, 0, 0].into()).await;
    }
    if let Some(own) = own_address() {
        failed += attack(&own.to_string(), own, own).await;
        failed += attack(&format!("[::ffff:{own}]"), own, own).await;
    }
    println!("{failed} attacks on this machine failed, and each succeeded where it was allowed");
    assert!(failed >= 100, "{failed}");
}

/// Addresses that lead elsewhere when they are allowed: nothing is sent, so the control is the rule itself.
#[tokio::test]
async fn neither_can_networks_around_it_and_tunnels_into_it() {
    let (proxy, policy) = proxy(vec![]).await;
    for host in ELSEWHERE {
        let ip: IpAddr = host.parse().unwrap();
        let text = if ip.is_ipv6() { format!("[{host}]") } else { (*host).to_owned() };
        for door in DOORS {
            assert!(!reach(door, &text, 80, &policy, proxy).await, "{host} through {door:?}");
        }
        assert_eq!(
            verdict(ip, 80, &Here::default(), &[SocketAddr::new(ip, 80)]),
            Verdict::Allow,
            "{host}: the control"
        );
    }
    assert_eq!(policy.denials().len(), ELSEWHERE.len());
    println!(
        "{} attacks on its networks failed, and each address is allowed where it is named",
        ELSEWHERE.len() * DOORS.len()
    );
}

/// Datagrams: the same targets, each by its address, which is all that a datagram has.
#[tokio::test]
async fn datagrams_reach_this_machine_no_more_than_connections_do() {
    let sent = b"\0\x05chirp";
    let own = own_address();
    for (ip, listen) in [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("127.9.9.9", "127.9.9.9"),
        ("::1", "::1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
    ]
    .into_iter()
    .map(|(ip, listen)| (ip.parse::<IpAddr>().unwrap(), listen.parse::<IpAddr>().unwrap()))
    .chain(own.map(|own| (own, own)))
    {
        let Ok(canary) = tokio::net::UdpSocket::bind((listen, 0)).await else { continue };
        let port = canary.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut bytes = [0; 64];
            while let Ok((n, from)) = canary.recv_from(&mut bytes).await {
                canary.send_to(&bytes[..n], from).await.unwrap();
            }
        });
        for (allow, answer) in [(vec![], Dialled::Forbidden), (vec![SocketAddr::new(ip, port)], Dialled::Ok)] {
            let mut stream = wire(&Arc::new(Policy::new(allow))).open(&Open::Udp(ip, port)).unwrap();
            stream.write_all(sent).await.unwrap();
            assert_eq!(receive(&mut stream, MAX_TO_GUEST).await.unwrap(), Some(answer), "{ip}");
            let mut back = [0; 7];
            let sang = stream.read_exact(&mut back).await.is_ok();
            assert_eq!((sang, back == *sent), (answer == Dialled::Ok, answer == Dialled::Ok), "{ip}");
        }
    }
    for host in ELSEWHERE {
        let mut stream = wire(&Arc::new(Policy::new(vec![]))).open(&Open::Udp(host.parse().unwrap(), 53)).unwrap();
        assert_eq!(receive(&mut stream, MAX_TO_GUEST).await.unwrap(), Some(Dialled::Forbidden), "{host}");
    }
}

/// A name of the guest's own that leads here: asked for, then connected to by the address that it got, as a program does.
#[tokio::test]
async fn a_name_that_was_resolved_opens_nothing() {
    let (secret, count) = canary([127, 0, 0, 1].into()).await.unwrap();
    for (allow, reached) in [(vec![], 0), (vec![secret], 1)] {
        let policy = Arc::new(Policy::new(allow));
        let guest = wire(&policy);
        let mut names = guest.open(&Open::Dns(true)).unwrap();
        let question = b"\0\x1b\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01";
        names.write_all(question).await.unwrap();
        assert_eq!(receive(&mut names, MAX_TO_GUEST).await.unwrap(), Some(Dialled::Ok));
        let mut answer = vec![0; usize::from(names.read_u16().await.unwrap())];
        names.read_exact(&mut answer).await.unwrap();
        assert!(answer.ends_with(&[127, 0, 0, 1]), "the host's own answer: {answer:?}");
        assert_eq!(reach(Door::Caught, "127.0.0.1", secret.port(), &policy, secret).await, reached > 0);
        assert_eq!(count.load(SeqCst), reached);
    }
}

#[tokio::test]
async fn a_redirect_leads_nowhere_new() {
    let (secret, count) = canary([127, 0, 0, 1].into()).await.unwrap();
    let lure = server(move |mut tcp| async move {
        let to = format!("HTTP/1.1 302 Found\r\nLocation: http://{secret}/\r\nConnection: close\r\n\r\n");
        super::read_head(&mut tcp).await?;
        tcp.write_all(to.as_bytes()).await
    })
    .await;
    for (allow, status, reached) in [(vec![lure], "403", 0), (vec![lure, secret], "200", 1)] {
        let (proxy, _) = proxy(allow).await;
        let answer = talk(proxy, format!("GET http://{lure}/ HTTP/1.1\r\n\r\n").as_bytes()).await;
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let answer = talk(proxy, format!("GET {location} HTTP/1.1\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(count.load(SeqCst), reached);
    }
}
