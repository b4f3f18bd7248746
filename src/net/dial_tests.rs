//! Against listeners on the loopback.

use super::{dial, is_name, own_addresses};
use crate::net::{CONNECTIONS, PENDING, Policy, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
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
    for port in 1..2000 {
        assert!(dial(&Target::Addr([10, 0, 0, 2].into(), port), &policy).await.is_err());
    }
    assert_eq!(policy.denials().len(), crate::net::denials::DENIALS);
}

#[tokio::test]
async fn a_dial_waits_for_its_turn() {
    let (_listener, addr) = listener().await;
    let policy = Policy::new(vec![addr]);
    let target = Target::Addr(addr.ip(), addr.port());
    let all = policy.pending.acquire_many(PENDING as u32).await.unwrap();
    let start = Instant::now();
    let (dialled, ()) = tokio::join!(dial(&target, &policy), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(all);
    });
    assert!(dialled.is_ok() && start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn our_own_addresses_are_seen() {
    let own = own_addresses().unwrap();
    assert!(own.contains(&[127, 0, 0, 1].into()), "{own:?}");
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
