//! The host's side of the guest's network: every connection that the guest wants is a stream on the wire, and this
//! decides whether it is made, makes it and carries it.

mod agent;
mod api;
pub mod authorities;
mod denials;
pub mod dial;
pub mod dns;
mod lookup;
mod names;
mod own;
pub mod policy;
mod resolver;
mod scrub;
pub mod tls;
mod udp;
mod upstream;

pub use agent::Agent;
pub use denials::{Denial, Denials, shown};
pub use resolver::search_domains;
pub use upstream::Upstream;

use crate::plan::Network;
use crate::plan::auth::Api;
use denials::{MISNAMED, UNLISTED};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, sink};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vmclaude_init::wire::crowd::Crowd;
use vmclaude_init::wire::pipe::{copy, pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Open, Target};

/// Connections at one time, those being made included. Each costs a descriptor and, when nobody reads, a quarter of a
/// megabyte. Fewer than a guest hands on, so that here is decided which of them is given up.
const CONNECTIONS: usize = 480;
/// Connections being made at one time; for one more the oldest is given up, so that those that hang keep nobody waiting.
const PENDING: usize = 320;
/// How long a connection waits for the place of one that was given up.
const PLACE: Duration = Duration::from_secs(1);
/// Flows of datagrams, and streams of questions for names, at one time. More than a guest has, which gives up its oldest: word of
/// that may come late.
const FLOWS: usize = 384;
/// Questions for names that are passed on to the host's servers at one time, each with a descriptor of its own. For one more the
/// oldest is given up, so that those that nobody answers keep nobody waiting.
const QUESTIONS: usize = 128;
/// How long the guest may take to read a refusal.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the guest may reach, and what it was refused. One per session.
#[derive(Debug)]
pub struct Policy {
    network: Network,
    upstream: Upstream,
    denials: Denials,
    names: names::Names,
    lookup: lookup::Lookup,
    connections: Arc<Semaphore>,
    flows: Arc<Semaphore>,
    pending: Crowd,
    questions: Crowd,
    own: own::Own,
    gate: Option<api::Gate>,
    agent: Option<Agent>,
}

impl Policy {
    /// Public addresses, and exactly the given socket addresses beside them.
    pub fn new(allow_hosts: Vec<SocketAddr>) -> Self {
        Policy::of(Network { allow_hosts, ..Network::default() }, Upstream::default(), Denials::default())
    }

    /// What `network` says, dialled as the host's own programs would, with refusals noted in `denials`.
    pub fn of(network: Network, upstream: Upstream, denials: Denials) -> Self {
        Policy {
            network,
            upstream,
            denials,
            names: names::Names::default(),
            lookup: lookup::Lookup::new(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            flows: Arc::new(Semaphore::new(FLOWS)),
            pending: Crowd::new(PENDING),
            questions: Crowd::new(QUESTIONS),
            own: own::Own::new(),
            gate: None,
            agent: None,
        }
    }

    /// With the API to which the host adds the key, and with the user's ssh agent.
    #[must_use]
    pub fn with(mut self, api: Option<Api>, agent: Option<Agent>) -> Self {
        self.gate = api.map(|api| api::Gate::new(api, self.upstream.clone()));
        self.agent = agent;
        self
    }

    /// What was refused so far, each destination once, the first of them (at most 256) in order.
    pub fn denials(&self) -> Vec<Denial> {
        self.denials.all()
    }

    /// A place for one more connection; `None`: all are taken by connections that were made.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let places = &self.connections;
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        // What waited here without an end would be one more thing that a guest can pile up.
        if !self.pending.give_up_one() {
            return None;
        }
        timeout(PLACE, Arc::clone(places).acquire_owned()).await.ok()?.ok()
    }

    /// Notes a refusal.
    fn deny(&self, denial: Denial) {
        self.denials.note(denial);
    }
}

/// Whether this host has a way to public IPv6 addresses. Nothing is sent: a datagram's socket only looks up the route.
pub fn has_ipv6() -> bool {
    let public = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.segments()[0] >> 13 == 1);
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok();
    let socket = socket.filter(|s| s.connect((Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 1), 53)).is_ok());
    socket.and_then(|s| s.local_addr().ok()).is_some_and(|here| public(here.ip()))
}

/// Serves one stream that the guest opened, whatever it is; what only the host opens is reset.
pub async fn serve_stream(open: Open, stream: impl AsyncRead + AsyncWrite + Unpin, policy: Arc<Policy>) {
    match open {
        Open::Dial(target) => serve(stream, target, policy).await,
        Open::Caught(target) => serve_caught(stream, target, policy).await,
        Open::Udp(addr, port) => serve_datagrams(stream, SocketAddr::new(addr, port), policy).await,
        Open::Dns(whole) => serve_names(stream, whole, policy).await,
        Open::Agent | Open::Api => serve_of_the_users(&open, stream, &policy).await,
        Open::Control | Open::Terminal | Open::Stdin | Open::Stdout | Open::Stderr => {}
        Open::Forward(_) | Open::Events => {}
    }
}

/// What only some projects have; a guest that asks for what it was not given is told nothing.
async fn serve_of_the_users(open: &Open, stream: impl AsyncRead + AsyncWrite + Unpin, policy: &Policy) {
    let Ok(_held) = policy.connections.clone().try_acquire_owned() else { return };
    match (open, &policy.gate, &policy.agent) {
        (Open::Api, Some(gate), _) => gate.serve(stream).await,
        (Open::Agent, _, Some(agent)) => {
            if let Err(e) = agent.serve(stream).await {
                tracing::debug!("the ssh agent: {e}");
            }
        }
        _ => {}
    }
}

/// Serves one [`Open::Dial`] stream, whose opening frame was read already: dials or refuses, answers, and carries
/// the bytes until both directions have ended. Never fails; what goes wrong is the guest's to see.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, target: Target, policy: Arc<Policy>) {
    let Some(held) = policy.place().await else {
        return refuse(stream, Dialled::Unreachable).await;
    };
    match dial::dial(&target, &policy).await {
        Ok(made) => match proto::send(&mut stream, &Dialled::Ok).await {
            Ok(()) => carry(made, stream, target, &policy).await,
            Err(_) => reset(made.tcp),
        },
        Err(why) => {
            drop(held);
            refuse(stream, why).await;
        }
    }
}

/// Serves one [`Open::Caught`] stream: as [`serve`], but the stream is the connection, and what was refused is reset.
async fn serve_caught(stream: impl AsyncRead + AsyncWrite + Unpin, target: Target, policy: Arc<Policy>) {
    let Some(_held) = policy.place().await else { return };
    if let Ok(made) = dial::dial(&target, &policy).await {
        carry(made, stream, target, &policy).await;
    }
}

/// Carries a connection that was made.
async fn carry(made: dial::Made, stream: impl AsyncRead + AsyncWrite + Unpin, target: Target, policy: &Policy) {
    match made.names {
        None => pipe(made.tcp, stream).await,
        Some(names) => serve_named(made.tcp, stream, (target, names), policy).await,
    }
}

/// Carries a connection in which the guest must first say one of these names.
async fn serve_named(
    mut tcp: tokio::net::TcpStream,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (target, names): (Target, Vec<String>),
    policy: &Policy,
) {
    let (Target::Name(_, port) | Target::Addr(_, port)) = target;
    let mut stream = tls::Checked::new(stream, names, port != 443);
    if copy(&mut tcp, &mut stream).await.is_err() {
        if stream.misnamed() {
            policy.deny(Denial { target, addr: None, why: MISNAMED });
        }
        reset(tcp);
    }
}

async fn serve_datagrams(mut stream: impl AsyncRead + AsyncWrite + Unpin, to: SocketAddr, policy: Arc<Policy>) {
    let Ok(_held) = policy.flows.clone().try_acquire_owned() else {
        return refuse(stream, Dialled::Unreachable).await;
    };
    match udp::connect(to, &policy).await {
        Ok(socket) => {
            if proto::send(&mut stream, &Dialled::Ok).await.is_ok() {
                // However it ends, the guest sees the end of the stream.
                let _ = udp::carry(socket, stream).await;
            }
        }
        Err(why) => refuse(stream, why).await,
    }
}

async fn serve_names(mut stream: impl AsyncRead + AsyncWrite + Unpin, whole: bool, policy: Arc<Policy>) {
    let Ok(_held) = policy.flows.clone().try_acquire_owned() else {
        return refuse(stream, Dialled::Unreachable).await;
    };
    if proto::send(&mut stream, &Dialled::Ok).await.is_ok() {
        resolver::serve(stream, whole, &policy).await;
    }
}

/// Answers, ends our direction, and waits a moment for the guest to end its own: dropping the stream at once would reset
/// it, and a reset may overtake the answer.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, why: Dialled) {
    let farewell = async {
        proto::send(&mut stream, &why).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut sink()).await
    };
    let _ = timeout(FAREWELL, farewell).await;
}
