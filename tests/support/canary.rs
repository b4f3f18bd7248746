//! A server that nobody may reach, and that counts who does.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What it says to everybody.
pub(crate) const SONG: &str = "the canary sings";

/// See the module.
pub(crate) struct Canary {
    pub(crate) addr: SocketAddr,
    hits: Arc<AtomicUsize>,
}

impl Canary {
    pub(crate) fn new(ip: IpAddr) -> Canary {
        Canary::at(SocketAddr::new(ip, 0))
    }

    /// At any port where this one is zero.
    pub(crate) fn at(addr: SocketAddr) -> Canary {
        let listener = TcpListener::bind(addr).expect("a port");
        let addr = listener.local_addr().expect("an address");
        let hits = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&hits);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(mut stream) = stream else { continue };
                std::thread::spawn(move || {
                    let _ = stream.read(&mut [0; 4096]);
                    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length";
                    let _ = write!(stream, "{head}: {}\r\n\r\n{SONG}", SONG.len());
                });
            }
        });
        Canary { addr, hits }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many connections there were.
    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }
}

/// The address by which this machine is known outside; `None` where it has none. No packet is sent.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Sends every datagram back, for as long as the test's process lives.
pub(crate) fn echo(ip: IpAddr) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).expect("a port");
    let addr = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut datagram = vec![0; 1 << 16];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(&datagram[..length], from);
        }
    });
    addr
}
