//! Against listeners on the loopback.

use super::{dial, is_name};
use crate::net::policy::{Here, NETWORK};
use crate::net::{CONNECTIONS, PENDING, Policy, Upstream, serve};
use crate::plan::Network;
use crate::plan::network::{Local, Mode};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use vmclaude_init::wire::proto::{Dialled, MAX_TO_GUEST, Target, receive};

fn name(name: &str, port: u16) -> Target {
    Target::Name(name.into(), port)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

#[tokio::test]
async fn every_spelling_of_the_loopback_is_the_loopback() {
    let (_listener, addr) = listener().await;
    let (closed, open) = (Policy::new(vec![]), Policy::new(vec![addr]));
    let spellings =
        ["localhost", "LOCALHOST", "127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001"];
    for spelling in spellings {
        let target = name(spelling, addr.port());
        assert_eq!(dial(&target, &closed).await.err(), Some(Dialled::Forbidden), "{spelling}");
        let tcp = dial(&target, &open).await.unwrap_or_else(|why| panic!("{spelling}: {why:?}"));
        let tcp = tcp.tcp;
        assert_eq!(tcp.peer_addr().unwrap(), addr, "{spelling}");
        assert!(tcp.nodelay().unwrap());
    }
    // The first two are one name.
    assert_eq!(closed.denials().len(), spellings.len() - 1);
    assert_eq!(open.denials(), []);
}

#[tokio::test]
async fn what_is_no_name_never_reaches_the_resolver() {
    let policy = Policy::new(vec![]);
    for bad in ["", "a\0.example", "a b", "a%25eth0", "u@h", "a/b", "::1", "[::1]", "a\n", "\u{e9}.example"] {
        assert!(!is_name(bad), "{bad:?}");
        assert_eq!(dial(&name(bad, 80), &policy).await.err(), Some(Dialled::NoSuchName), "{bad:?}");
    }
    assert!(is_name(&"a".repeat(253)) && !is_name(&"a".repeat(254)));
    assert_eq!(policy.denials(), []);
}

#[tokio::test]
async fn a_closed_port_is_refused_and_not_forbidden() {
    let (listener, addr) = listener().await;
    drop(listener);
    let policy = Policy::new(vec![addr]);
    assert_eq!(dial(&Target::Addr(addr.ip(), addr.port()), &policy).await.err(), Some(Dialled::Refused));
}

#[tokio::test]
async fn each_refused_destination_is_noted_once_and_only_so_many() {
    let policy = Policy::new(vec![]);
    for port in [1, 2, 1, 2] {
        assert!(dial(&Target::Addr([10, 0, 0, 1].into(), port), &policy).await.is_err());
    }
    let denials = policy.denials();
    assert_eq!(denials.len(), 2);
    assert_eq!(
        (denials[0].to_string().as_str(), denials[0].remedy()),
        ("10.0.0.1:1 (a private network)", Some("[network] allow_local = [\"10.0.0.1\"]".into()))
    );
    // A cloud's metadata is no network to be opened.
    assert!(dial(&Target::Addr("fd20:ce::254".parse().unwrap(), 80), &policy).await.is_err());
    assert_eq!(policy.denials()[2].remedy(), None);
    for port in 1..2000 {
        assert!(dial(&Target::Addr([10, 0, 0, 2].into(), port), &policy).await.is_err());
    }
    assert_eq!(policy.denials().len(), crate::net::denials::DENIALS);
}

#[tokio::test]
async fn dials_that_hang_give_way() {
    let (_listener, addr) = listener().await;
    let policy = Arc::new(Policy::new(vec![addr]));
    let target = Target::Addr(addr.ip(), addr.port());
    let all = policy.connections.clone().acquire_many_owned((CONNECTIONS - PENDING) as u32).await.unwrap();
    let hang = || {
        let policy = policy.clone();
        tokio::spawn(async move {
            let _held = policy.place().await.unwrap();
            policy.pending.attempt(std::future::pending::<()>()).await
        })
    };
    let mut hanging: Vec<_> = (0..PENDING).map(|_| hang()).collect();
    while policy.connections.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    // For its place the first goes.
    let (mut guest, host) = tokio::io::duplex(1024);
    tokio::spawn(serve(host, target.clone(), policy.clone()));
    assert_eq!(receive(&mut guest, MAX_TO_GUEST).await.unwrap(), Some(Dialled::Ok));
    assert_eq!(hanging.remove(0).await.unwrap(), None);
    // And for its turn the second, once as many hang as may.
    drop(all);
    hanging.push(hang());
    tokio::task::yield_now().await;
    assert!(dial(&target, &policy).await.is_ok());
    assert_eq!(hanging.remove(0).await.unwrap(), None);
    assert!(hanging.iter().all(|hanging| !hanging.is_finished()));
}

#[tokio::test]
async fn what_the_list_does_not_name_is_not_even_looked_up() {
    let (_listener, addr) = listener().await;
    let policy = |list: &[&str]| {
        let allow = list.iter().map(|entry| entry.parse().unwrap()).collect();
        let network = Network { mode: Mode::Allowlist, allow, allow_hosts: vec![addr], ..Network::default() };
        Policy::of(network, Default::default(), Default::default())
    };
    let here = format!("localhost:{}", addr.port());
    let made = dial(&name("localhost", addr.port()), &policy(&[&here])).await.unwrap();
    assert_eq!(made.names, Some(vec!["localhost".to_owned()]), "the control; and it must say so itself");
    for (list, target) in [
        (vec!["other.example"], name("localhost", addr.port())),
        (vec![&here], name("localhost", 1)),
        (vec![&here], name("x.localhost", addr.port())),
        (vec![&here], Target::Addr([127, 0, 0, 2].into(), addr.port())),
        (vec![], name("localhost", addr.port())),
    ] {
        let policy = policy(&list);
        assert_eq!(dial(&target, &policy).await.err(), Some(Dialled::NotListed), "{target:?}");
        assert_eq!(policy.denials().len(), 1);
    }
}

#[tokio::test]
async fn no_setting_opens_this_machine() {
    let policy = |place: &str| {
        let (addr, length) = place.split_once('/').unwrap();
        let allow_local = vec![Local::Block(addr.parse().unwrap(), length.parse().unwrap())];
        Policy::of(Network { allow_local, ..Network::default() }, Default::default(), Default::default())
    };
    let other = Target::Addr([127, 0, 0, 2].into(), 1);
    assert_eq!(dial(&other, &policy("127.0.0.0/8")).await.err(), Some(Dialled::Forbidden));
    let own = [10, 9, 8, 7].into();
    let target = Target::Addr(own, 1);
    let here = Here { addresses: vec![own], ..Here::default() };
    assert!(super::opened(&target, own, &Here::default(), &policy("10.0.0.0/8")), "the control");
    assert!(!super::opened(&target, own, &here, &policy("10.0.0.0/8")), "an address of its own");
}

/// In a network namespace of this thread's own, which takes root: there this machine is in networks with public addresses.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_neighbour_is_reached_only_where_it_was_opened() {
    let ip = |words: &str| std::process::Command::new("ip").args(words.split(' ')).status().is_ok_and(|s| s.success());
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() || !ip("link set lo up") {
        println!("skipped dial::a_neighbour_is_reached_only_where_it_was_opened: it takes root, and ip");
        return;
    }
    for (own, neighbour) in [("11.22.33.7/24", "11.22.33.9"), ("2600:0:0:7::7/64", "2600:0:0:7::9")] {
        assert!(ip(&format!("addr add {own} dev lo")), "{own}");
        let closed = Policy::new(vec![]);
        let addr = SocketAddr::new(neighbour.parse().unwrap(), 53);
        let target = Target::Addr(addr.ip(), addr.port());
        assert_eq!(dial(&target, &closed).await.err(), Some(Dialled::Forbidden), "{own}");
        assert_eq!(
            crate::net::udp::connect(SocketAddr::new(addr.ip(), 54), &closed).await.err(),
            Some(Dialled::Forbidden)
        );
        let denials = closed.denials();
        assert!(denials.len() == 2 && denials.iter().all(|denial| denial.why == NETWORK), "{denials:?}");
        // What would open it does, and not this machine's own address beside it.
        let remedy = format!("[network] allow_local = [\"{neighbour}\"]");
        assert_eq!(denials[0].remedy(), Some(remedy));
        let opened = |place: &str| Network { allow_local: vec![place.parse().unwrap()], ..Network::default() };
        let policy = Policy::of(opened(neighbour), Default::default(), Default::default());
        assert_eq!(super::judge(&target, &[addr], &policy), Ok(vec![addr]));
        let policy = Policy::of(opened(own), Default::default(), Default::default());
        let own = SocketAddr::new(own.split('/').next().unwrap().parse().unwrap(), 53);
        assert_eq!(super::judge(&target, &[own, addr], &policy), Ok(vec![addr]));
    }
}

#[tokio::test]
async fn a_connection_that_stayed_on_this_machine_is_ended() {
    let (_listener, addr) = listener().await;
    let target = Target::Addr(addr.ip(), addr.port());
    let policy = Policy::new(vec![]);
    assert_eq!(super::connect(&target, &[addr], &policy).await.err(), Some(Dialled::Forbidden));
    assert_eq!(policy.denials().len(), 1);
    assert!(super::connect(&target, &[addr], &Policy::new(vec![addr])).await.is_ok(), "the control");
}

#[tokio::test]
async fn one_connection_too_many_is_told_at_once() {
    let (_listener, addr) = listener().await;
    let policy = Arc::new(Policy::new(vec![addr]));
    let target = Target::Addr(addr.ip(), addr.port());
    let all = policy.connections.clone().acquire_many_owned(CONNECTIONS as u32).await.unwrap();
    for expected in [Dialled::Unreachable, Dialled::Ok] {
        let (mut guest, host) = tokio::io::duplex(1024);
        let task = tokio::spawn(serve(host, target.clone(), policy.clone()));
        assert_eq!(receive(&mut guest, MAX_TO_GUEST).await.unwrap(), Some(expected));
        drop(guest);
        if expected == Dialled::Unreachable {
            task.await.unwrap();
            assert_eq!(policy.connections.available_permits(), 0);
            policy.connections.add_permits(1);
        }
    }
    drop(all);
}

/// A proxy of a company's that takes CONNECT for everything, and the lines by which it was asked.
async fn company() -> (Upstream, Arc<Mutex<Vec<String>>>) {
    let (listener, addr) = listener().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let mut tcp = BufReader::new(tcp);
            let mut line = String::new();
            tcp.read_line(&mut line).await.unwrap();
            noted.lock().unwrap().push(line.trim_end().to_owned());
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        }
    });
    let url = format!("http://{addr}");
    (Upstream::of(|name| (name == "https_proxy").then_some(url.as_str())), asked)
}

#[tokio::test]
async fn a_name_goes_to_the_hosts_proxy_only_if_each_of_its_addresses_may_be_dialled() {
    let (upstream, asked) = company().await;
    let policy = |allow_local: &[&str]| {
        let allow_local = allow_local.iter().map(|place| place.parse().unwrap()).collect();
        let network = Network { allow_local, ..Network::default() };
        let policy = Policy::of(network, upstream.clone(), Default::default());
        policy.lookup.say("fine.example", &["9.9.9.9".parse().unwrap(), "2620:fe::9".parse().unwrap()]);
        policy.lookup.say("here.example", &["9.9.9.10".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        policy.lookup.say("mixed.example", &["9.9.9.11".parse().unwrap(), "10.0.0.1".parse().unwrap()]);
        policy
    };
    let closed = policy(&[]);
    assert!(dial(&name("fine.example", 443), &closed).await.is_ok());
    for bad in ["here.example", "mixed.example"] {
        assert_eq!(dial(&name(bad, 443), &closed).await.err(), Some(Dialled::Forbidden), "{bad}");
    }
    assert_eq!(closed.denials()[1].remedy(), Some("[network] allow_local = [\"mixed.example\"]".into()));
    // A caught connection: the proxy is asked for the name that the guest was told for its address.
    for (known, addr) in
        [("fine.example", [9, 9, 9, 9]), ("here.example", [9, 9, 9, 10]), ("mixed.example", [9, 9, 9, 11])]
    {
        closed.names.learn(known, &[addr.into()]);
        let made = dial(&Target::Addr(addr.into(), 443), &closed).await;
        assert_eq!(made.err(), (known != "fine.example").then_some(Dialled::Forbidden), "{known}");
    }
    assert_eq!(*asked.lock().unwrap(), ["CONNECT fine.example:443 HTTP/1.1"; 2]);
    let opened = policy(&["mixed.example"]);
    assert!(dial(&name("mixed.example", 443), &opened).await.is_ok(), "the control");
    assert_eq!(asked.lock().unwrap().last().unwrap(), "CONNECT mixed.example:443 HTTP/1.1");
}
