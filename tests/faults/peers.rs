//! Whoever is dialled, and what is wrong with them. All of them on this machine's loopback.

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, setsockopt, socket, sockopt,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a server behaves that takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It says these bytes and ends.
    Says(&'static [u8]),
    /// It reads a byte and breaks off.
    Resets,
    /// It neither reads nor says anything.
    Silent,
    /// It says these bytes, and then nothing any more.
    Stops(&'static [u8]),
}

/// A server on loopback that counts who comes and who goes.
pub(crate) struct Peer {
    pub(crate) port: u16,
    come: Arc<AtomicUsize>,
    gone: Arc<AtomicUsize>,
    _held: (Option<OwnedFd>, Vec<TcpStream>),
}

impl Peer {
    /// One that takes connections. Ends with the test's process.
    pub(crate) fn new(manner: Manner) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let peer = Peer::at(listener.local_addr().expect("an address").port());
        let (come, gone) = (Arc::clone(&peer.come), Arc::clone(&peer.gone));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                come.fetch_add(1, Ordering::SeqCst);
                let gone = Arc::clone(&gone);
                std::thread::spawn(move || {
                    serve(stream, manner);
                    gone.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        peer
    }

    /// Nobody: the port was free a moment ago.
    pub(crate) fn nobody() -> Peer {
        Peer::at(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a port").port())
    }

    /// One whose queue is full: the kernel answers nothing at all.
    pub(crate) fn full() -> Peer {
        let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))).expect("bind");
        listen(&fd, Backlog::new(0).expect("a number")).expect("listen");
        let port = getsockname::<SockaddrIn>(fd.as_raw_fd()).expect("an address").port();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into();
        let waits = (0..4).map_while(|_| TcpStream::connect_timeout(&to, Duration::from_millis(300)).ok()).collect();
        Peer { _held: (Some(fd), waits), ..Peer::at(port) }
    }

    fn at(port: u16) -> Peer {
        Peer { port, come: Arc::default(), gone: Arc::default(), _held: (None, Vec::new()) }
    }

    /// Whether somebody came.
    pub(crate) fn was_met(&self) -> bool {
        self.come.load(Ordering::SeqCst) > 0
    }

    /// Whether all who came are gone.
    pub(crate) fn is_left(&self) -> bool {
        self.gone.load(Ordering::SeqCst) == self.come.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, manner: Manner) {
    let mut bytes = [0; 4096];
    match manner {
        Manner::Says(words) => {
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(words);
            let _ = stream.shutdown(Shutdown::Write);
        }
        Manner::Resets => {
            let _ = stream.read(&mut bytes[..1]);
            let hard = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            let _ = setsockopt(&stream, sockopt::Linger, &hard);
        }
        Manner::Silent => wait(&stream),
        Manner::Stops(words) => {
            let _ = stream.write_all(words);
            wait(&stream);
        }
    }
}

/// Until the other side is gone, without reading.
fn wait(stream: &TcpStream) {
    use nix::libc::{POLLERR, POLLHUP, POLLRDHUP, poll, pollfd};
    let mut one = pollfd { fd: stream.as_raw_fd(), events: POLLRDHUP, revents: 0 };
    while one.revents & (POLLRDHUP | POLLHUP | POLLERR) == 0 {
        // SAFETY: one pollfd, which lives through the call.
        unsafe { poll(&raw mut one, 1, -1) };
    }
}
