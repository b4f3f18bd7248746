//! Ports of this machine's loopback that lead into the guest, for as long as the session runs.

use crate::error::{Failure, Result};
use crate::plan::ports::Forward;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{self, Dialled, MAX_TO_HOST, Open};

/// Connections of one port at one time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// The ports of one session. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Ports(Arc<Shared>);

#[derive(Default)]
struct Shared {
    wire: OnceLock<Wire>,
    open: Mutex<Vec<Forward>>,
    changed: Notify,
}

impl Ports {
    /// From now on there is a guest to lead to.
    pub(super) fn attach(&self, wire: Wire) {
        let _ = self.0.wire.set(wire);
    }

    /// The ports that are open.
    pub(super) fn all(&self) -> Vec<Forward> {
        self.list().clone()
    }

    /// Waits until a port was opened since the last call.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Opens one. Whether anybody listens in the guest is found out by each connection.
    pub(super) fn open(&self, forward: Forward) -> Result<()> {
        let fail = || Failure::new(format!("cannot forward port {}", forward.host));
        let Some(wire) = self.0.wire.get().cloned() else {
            return Err(fail().because("the session is still starting").next("the same command again"));
        };
        if let Some(open) = self.list().iter().find(|open| open.host == forward.host) {
            return match *open == forward {
                true => Ok(()),
                false => Err(fail()
                    .because(format!("it leads to the guest's port {} already", open.guest))
                    .next("vmclaude session list")),
            };
        }
        let another = |host: u16| format!("vmclaude session forward {host}:{}", forward.guest);
        let next = another(forward.host.checked_add(1).unwrap_or(8080));
        let door = listen(forward.host).map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => fail().because("another program on this machine listens there").next(next),
            std::io::ErrorKind::PermissionDenied => fail()
                .because("only this machine's administrator may listen on so low a port")
                .next(another(8000 + forward.host % 1000)),
            _ => fail().because(e).next(next),
        })?;
        tokio::spawn(serve(door, forward.guest, wire));
        self.list().push(forward);
        self.0.changed.notify_one();
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Forward>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On the loopback and nowhere else.
fn listen(port: u16) -> std::io::Result<tokio::net::TcpListener> {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    door.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(door)
}

async fn serve(door: tokio::net::TcpListener, port: u16, wire: Wire) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed, so this ends with the session.
    while let Ok(place) = room.clone().acquire_owned().await {
        let Ok((tcp, _)) = door.accept().await else {
            // For want of descriptors, which come back with time.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let wire = wire.clone();
        tokio::spawn(async move {
            carry(tcp, port, &wire).await;
            drop(place);
        });
    }
}

/// One connection. That nobody listens in the guest looks as it does here: a reset.
async fn carry(tcp: TcpStream, port: u16, wire: &Wire) {
    let _ = tcp.set_nodelay(true);
    let Ok(mut stream) = wire.open(&Open::Forward(port)) else { return reset(tcp) };
    match proto::receive(&mut stream, MAX_TO_HOST).await {
        Ok(Some(Dialled::Ok)) => pipe(tcp, stream).await,
        _ => reset(tcp),
    }
}
