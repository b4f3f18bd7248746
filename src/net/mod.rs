//! The host's side of the guest's network: every connection that the guest wants is a stream on the wire, and this
//! decides whether it is made, makes it and carries it.

pub mod dial;
pub mod policy;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, sink};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, Target};

/// Connections at one time, those being made included. Each costs a descriptor and some 64 KiB.
const CONNECTIONS: usize = 1024;
/// Connections being made at one time; more wait for their turn, within the time limit of their own.
const PENDING: usize = 128;
/// Names being resolved at one time: each keeps a thread until the system's resolver gives up.
const LOOKUPS: usize = 32;
/// Refused destinations that are remembered. A guest that scans must not fill the host's memory.
const DENIALS: usize = 256;
/// How long the guest may take to read a refusal.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the guest may reach, and what it was refused. One per session.
#[derive(Debug)]
pub struct Policy {
    allow: Vec<SocketAddr>,
    denied: Mutex<Vec<Denial>>,
    connections: Arc<Semaphore>,
    pending: Semaphore,
    lookups: Arc<Semaphore>,
}

/// A destination that the guest was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the guest asked for. A name holds only letters, digits, `-`, `_` and `.`: it is safe to print.
    pub target: Target,
    /// The address that the rule forbids; `--allow-host` with exactly this would allow it.
    pub addr: SocketAddr,
    /// What kind of address that is, such as "loopback".
    pub why: &'static str,
}

impl Policy {
    /// Public addresses, and exactly the given socket addresses beside them.
    pub fn new(allow: Vec<SocketAddr>) -> Self {
        Policy {
            allow,
            denied: Mutex::default(),
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            pending: Semaphore::new(PENDING),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// What was refused so far, each destination once, the first of them (at most 256) in order.
    pub fn denials(&self) -> Vec<Denial> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a refusal.
    fn deny(&self, mut denial: Denial) {
        if let Target::Name(name, _) = &mut denial.target {
            name.make_ascii_lowercase();
        }
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        if denied.len() < DENIALS && denied.iter().all(|known| known.target != denial.target) {
            tracing::info!("refused {}: {} is {}", shown(&denial.target), denial.addr, denial.why);
            denied.push(denial);
        }
    }
}

/// A target as people write it.
pub fn shown(target: &Target) -> String {
    match target {
        Target::Name(name, port) => format!("{name}:{port}"),
        Target::Addr(addr, port) => SocketAddr::new(*addr, *port).to_string(),
    }
}

/// Serves one [`proto::Open::Dial`] stream, whose opening frame was read already: dials or refuses, answers, and carries
/// the bytes until both directions have ended. Never fails; what goes wrong is the guest's to see.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, target: Target, policy: Arc<Policy>) {
    // At the limit the answer is immediate: waiting streams would be one more thing that a guest can pile up.
    let Ok(held) = policy.connections.clone().try_acquire_owned() else {
        return refuse(stream, Dialled::Unreachable).await;
    };
    match dial::dial(&target, &policy).await {
        Ok(tcp) => match proto::send(&mut stream, &Dialled::Ok).await {
            Ok(()) => pipe(tcp, stream).await,
            Err(_) => reset(tcp),
        },
        Err(why) => {
            drop(held);
            refuse(stream, why).await;
        }
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
