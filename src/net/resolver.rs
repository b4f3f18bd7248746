//! Answers the guest's questions for names: addresses from the host's resolver, with all that the host knows of its networks,
//! and every other record from the servers that the host is configured to ask.

use super::dns::{self, Code, Question};
use super::{Denial, Policy};
use crate::plan::network::{Local, Mode};
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use vmclaude_init::wire::proto::Target;

/// Questions of one stream that are being answered at one time.
const AT_ONCE: usize = 16;
/// How long a stream stays without a question.
const IDLE: Duration = Duration::from_secs(60);
/// How long a configured server may take, and how many of them are asked.
const PATIENCE: Duration = Duration::from_secs(4);
const SERVERS: usize = 3;
/// Where the host's servers are listed. Read for each question: a VPN or another Wi-Fi may change it at any time.
const LIST: &str = "/etc/resolv.conf";

/// Serves one stream of questions until it ends. `whole`: answers may have any size.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, whole: bool, policy: &Arc<Policy>) {
    let answer_one = |message: Vec<u8>| {
        let policy = policy.clone();
        async move { answer(&message, whole, &policy).await }
    };
    converse(stream, answer_one).await;
}

/// Passes on questions and their answers. Who ends a stream still wants answers; who resets it does not, and is not in the way of
/// others until they have come.
async fn converse<A>(stream: impl AsyncRead + AsyncWrite + Unpin, answer: impl Fn(Vec<u8>) -> A)
where
    A: Future<Output = Option<Vec<u8>>> + Send + 'static,
{
    let (mut from, mut to) = split(stream);
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(AT_ONCE);
    let read = async move {
        let mut asked = JoinSet::new();
        loop {
            match timeout(IDLE, next(&mut from)).await {
                Ok(Ok(message)) => {
                    if asked.len() >= AT_ONCE {
                        asked.join_next().await;
                    }
                    let (answer, answers) = (answer(message), answers.clone());
                    asked.spawn(async move {
                        if let Some(answer) = answer.await {
                            let _ = answers.send(answer).await;
                        }
                    });
                }
                Ok(Err(e)) if e.kind() != io::ErrorKind::UnexpectedEof => return,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        while asked.join_next().await.is_some() {}
    };
    let write = async move {
        while let Some(answer) = ready.recv().await {
            let Ok(length) = u16::try_from(answer.len()) else { continue };
            let framed = [&length.to_be_bytes()[..], &answer].concat();
            if to.write_all(&framed).await.is_err() {
                return; // The guest is gone, or does not read.
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

async fn next(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(from.read_u16().await?)];
    from.read_exact(&mut message).await?;
    Ok(message)
}

async fn answer(message: &[u8], whole: bool, policy: &Policy) -> Option<Vec<u8>> {
    let asked = match dns::question(message) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    if !may_ask(&asked, policy) {
        return Some(asked.empty(Code::NoSuchName));
    }
    if policy.network.mode != Mode::Open && dns::BINDINGS.contains(&asked.kind) {
        // They lead to other addresses, and give keys to hide the server's name with, which the list is about.
        return Some(asked.empty(Code::NoError));
    }
    if let (Some(name), dns::A | dns::AAAA) = (&asked.name, asked.kind) {
        let Some(addrs) = policy.lookup.addresses(name).await else { return Some(asked.empty(Code::Failed)) };
        policy.names.learn(name, &addrs);
        // One family without addresses is an answer too.
        if !addrs.is_empty() {
            return Some(asked.addresses(&addrs, whole));
        }
    }
    Some(pass_on(&asked, &configured(), whole, policy).await)
}

/// The servers' answer, or that there is none. A question that was given up for a newer one is told so no sooner than one that
/// nobody answers: else a guest that asks too much would only ask more.
async fn pass_on(asked: &Question, servers: &[SocketAddr], whole: bool, policy: &Policy) -> Vec<u8> {
    let patience = Instant::now() + PATIENCE;
    let answer = policy.questions.attempt(forward(asked, servers, whole)).await;
    if answer.is_none() {
        sleep_until(patience).await;
    }
    answer.flatten().unwrap_or_else(|| asked.empty(Code::Failed))
}

/// Whether the guest may learn anything of this name: a question is a message to whoever answers it.
fn may_ask(asked: &Question, policy: &Policy) -> bool {
    if policy.network.mode == Mode::Open {
        return true;
    }
    let Some(name) = &asked.name else { return false };
    let local = |place: &Local| matches!(place, Local::Name(this) if this == name);
    let listed = policy.network.allow.iter().any(|entry| entry.names(name));
    let may = policy.network.mode == Mode::Allowlist && (listed || policy.network.allow_local.iter().any(local));
    if !may {
        policy.deny(Denial { target: Target::Name(name.clone(), 443), addr: None, why: super::UNLISTED });
    }
    may
}

/// The servers that this host is configured to ask.
pub(super) fn configured() -> Vec<SocketAddr> {
    servers(&std::fs::read_to_string(LIST).unwrap_or_default()) // small, and in memory
}

/// The servers that a `resolv.conf` names.
fn servers(list: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let text = line.strip_prefix("nameserver")?.split_whitespace().next()?;
        // An IPv6 address of one link only has its interface behind it, which std does not read.
        text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
    };
    let found: Vec<_> = list.lines().filter_map(address).take(SERVERS).collect();
    // No line at all means the server on this machine, says resolv.conf(5).
    if found.is_empty() { vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 53)] } else { found }
}

/// The domains in which the host looks up short names.
pub fn search_domains() -> Vec<String> {
    let list = std::fs::read_to_string(LIST).unwrap_or_default();
    let line = list.lines().rfind(|line| line.starts_with("search") || line.starts_with("domain"));
    line.map_or_else(Vec::new, |line| line.split_whitespace().skip(1).take(6).map(str::to_owned).collect())
}

/// A name's addresses, from whichever of these servers answers first; `None`: they do not say. All that the host knows besides
/// is passed over.
pub(super) async fn ask(name: &str, servers: &[SocketAddr]) -> Option<Vec<IpAddr>> {
    let [v4, v6] = [dns::A, dns::AAAA].map(|kind| Question::of(name, kind));
    let (v4, v6) = (v4?, v6?);
    let mut asked = JoinSet::new();
    for server in servers {
        let (v4, v6, server) = (v4.clone(), v6.clone(), [*server]);
        asked.spawn(async move {
            let (v4, v6) = tokio::join!(forward(&v4, &server, true), forward(&v6, &server, true));
            let [v4, v6] = [v4, v6].map(|answer| answer.and_then(|answer| dns::addresses(&answer)));
            let known = v4.is_some() || v6.is_some();
            let both = if super::has_ipv6() { [v6, v4] } else { [v4, v6] };
            known.then(|| both.into_iter().flatten().flatten().collect())
        });
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok(Some(found)) = answer {
            return Some(found);
        }
    }
    None
}

/// The first server's answer. These addresses are the host's own choice: the rule about addresses is for the guest's.
async fn forward(asked: &Question, servers: &[SocketAddr], whole: bool) -> Option<Vec<u8>> {
    for server in servers {
        let Ok(Ok(answer)) = timeout(PATIENCE, over_udp(asked, *server, whole)).await else { continue };
        if !whole || !dns::is_cut(&answer) {
            return Some(answer);
        }
        if let Ok(Ok(longer)) = timeout(PATIENCE, over_tcp(asked, *server)).await {
            return Some(longer);
        }
    }
    None
}

async fn over_udp(asked: &Question, server: SocketAddr, whole: bool) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel picks the port, and drops what others than the server send.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = number();
    socket.send(&asked.anew(id, whole)).await?;
    let mut answer = vec![0; 1 << 16];
    loop {
        let length = socket.recv(&mut answer).await?;
        if let Some(answer) = asked.adopt(answer[..length].to_vec(), id) {
            return Ok(answer);
        }
    }
}

async fn over_tcp(asked: &Question, server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(server).await?;
    let message = asked.anew(1, true);
    tcp.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).await?;
    let answer = next(&mut tcp).await?;
    asked.adopt(answer, 1).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A number for a question that nobody outside knows beforehand: the standard library's hasher has random keys.
fn number() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
