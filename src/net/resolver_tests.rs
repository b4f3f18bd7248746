//! Against servers on the loopback.

use super::{answer, converse, forward, pass_on, servers};
use crate::net::{Policy, QUESTIONS, dns, serve_names};
use crate::plan::Network;
use crate::plan::network::Mode;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;
use vmclaude_init::wire::proto::{Dialled, MAX_TO_GUEST, receive};

/// A question for a record of this type.
fn ask(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
    message
}

#[test]
fn the_hosts_servers_are_read() {
    let list = "# a comment\nsearch corp\nnameserver 127.0.0.53\nnameserver  fd00::1 # x\nnameserver bad\nnameservers 1.1.1.1\n";
    let found = servers(list);
    assert_eq!(found[..2], ["127.0.0.53:53".parse().unwrap(), "[fd00::1]:53".parse::<SocketAddr>().unwrap()]);
    assert_eq!(servers(""), ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(servers(&"nameserver 9.9.9.9\n".repeat(9)).len(), 3);
}

/// A server that answers over UDP with a cut answer, over TCP with a whole one, and lies at first.
async fn server() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(addr).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 600];
        loop {
            let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
            let mut lie = buffer[..n].to_vec();
            lie[2] |= 0x80;
            lie[0] ^= 1;
            udp.send_to(&lie, from).await.unwrap();
            lie[0] ^= 1;
            lie[2] |= 2;
            udp.send_to(&lie, from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = tcp.accept().await.unwrap();
            let mut message = super::next(&mut tcp).await.unwrap();
            message[2] |= 0x80;
            message[3] = 5;
            let length = (message.len() as u16).to_be_bytes();
            tcp.write_all(&[&length[..], &message].concat()).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn other_records_come_from_the_configured_servers() {
    let server = server().await;
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let asked = dns::question(&ask("a.example", 16)).unwrap();
    let cut = forward(&asked, &[dead, server], false).await.unwrap();
    assert!(dns::is_cut(&cut) && cut[..2] == [0x12, 0x34], "the asker has to ask again over TCP");
    let whole = forward(&asked, &[server], true).await.unwrap();
    assert_eq!((whole[..2].to_vec(), whole[3]), (vec![0x12, 0x34], 5));
    assert_eq!(forward(&asked, &[dead], false).await, None);
}

/// A server that knows an address of the old kind for every name, and none of the new kind.
async fn knowing() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 600];
        loop {
            let (n, from) = udp.recv_from(&mut buffer).await.unwrap();
            let asked = dns::question(&buffer[..n]).unwrap();
            let answer = asked.addresses(&[[192, 0, 2, 1].into()], false);
            udp.send_to(&answer, from).await.unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn addresses_come_from_the_server_that_answers_first() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let found = super::ask("a.example", &[silent, knowing().await]).await;
    assert_eq!(found, Some(vec![[192, 0, 2, 1].into()]));
    assert_eq!(super::ask("not a name", &[silent]).await, None);
}

#[tokio::test]
async fn questions_that_nobody_answers_hold_so_many_sockets_and_keep_nobody_waiting() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (addr, policy) = (silent.local_addr().unwrap(), Arc::new(Policy::new(vec![])));
    let asked = dns::question(&ask("a.example", 16)).unwrap();
    let (mut waiting, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..2 * QUESTIONS {
        let (asked, policy) = (asked.clone(), Arc::clone(&policy));
        waiting.push(tokio::spawn(async move { pass_on(&asked, &[addr], false, &policy).await }));
        let (_, from) = silent.recv_from(&mut [0; 600]).await.unwrap();
        sockets.push(from);
    }
    // For the next one the oldest goes, and it is answered.
    let knowing = [knowing().await];
    let answered = pass_on(&asked, &knowing, false, &policy);
    let answered = timeout(super::PATIENCE / 2, answered).await.expect("it waits for nobody");
    assert_eq!(answered[3] & 15, 0);
    while UdpSocket::bind(sockets[QUESTIONS]).await.is_err() {
        tokio::task::yield_now().await;
    }
    let mut open = 0;
    for socket in &sockets {
        open += usize::from(UdpSocket::bind(socket).await.is_err());
    }
    // Other programs may have got one of those ports meanwhile.
    assert!(open > 0 && open < QUESTIONS + QUESTIONS / 2, "{open}");
    assert!(!waiting.iter().any(tokio::task::JoinHandle::is_finished), "nobody gains anything by asking too much");
}

#[tokio::test]
async fn the_hosts_own_names_are_answered_and_learned() {
    let policy = Policy::new(vec![]);
    let got = answer(&ask("localhost", dns::A), false, &policy).await.unwrap();
    assert!(got.ends_with(&[127, 0, 0, 1]), "{got:?}");
    assert_eq!(policy.names.of([127, 0, 0, 1].into()), ["localhost"]);
}

#[tokio::test]
async fn what_is_not_listed_is_not_even_asked_for() {
    let network = Network { mode: Mode::Allowlist, allow: vec!["localhost".parse().unwrap()], ..Network::default() };
    let policy = Policy::of(network, Default::default(), Default::default());
    let code = |message: Vec<u8>| message[3] & 15;
    assert_eq!(code(answer(&ask("localhost", dns::A), false, &policy).await.unwrap()), 0);
    let bindings = answer(&ask("localhost", 65), false, &policy).await.unwrap();
    assert_eq!((code(bindings.clone()), bindings[7]), (0, 0));
    for name in ["secret.evil.example", "localhost.evil.example", "xlocalhost"] {
        assert_eq!(code(answer(&ask(name, 16), false, &policy).await.unwrap()), 3, "{name}");
    }
    assert_eq!(policy.denials().len(), 3);
    assert_eq!(policy.denials()[0].remedy().unwrap(), "--allow secret.evil.example:443");
}

#[tokio::test]
async fn a_stream_carries_many_questions() {
    let policy = Arc::new(Policy::new(vec![]));
    let (mut guest, host) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve_names(host, true, policy));
    for _ in 0..50 {
        let message = ask("localhost", dns::A);
        guest.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).await.unwrap();
    }
    guest.write_all(&[0, 3, 1, 2, 3]).await.unwrap();
    guest.shutdown().await.unwrap();
    assert_eq!(receive(&mut guest, MAX_TO_GUEST).await.unwrap(), Some(Dialled::Ok));
    let mut all = Vec::new();
    guest.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 50 * (2 + ask("localhost", 1).len() + 16));
}

/// What a stream is that the other side has reset.
struct Reset;

impl tokio::io::AsyncRead for Reset {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
    }
}

#[tokio::test]
async fn a_stream_that_was_given_up_does_not_wait_for_answers() {
    let asked = &[0, 1, b'x'][..];
    let stream = tokio::io::join(asked.chain(Reset), tokio::io::sink());
    let served = converse(stream, |_| std::future::pending());
    timeout(Duration::from_secs(5), served).await.expect("it ends");
    let stream = tokio::io::join(asked, tokio::io::sink());
    let served = converse(stream, |_| std::future::pending());
    timeout(Duration::from_millis(100), served).await.expect_err("it was only ended");
}
