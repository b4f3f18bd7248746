//! A guest that attacks through the network: the host's process stays small, answers others meanwhile, and lives.

use crate::support::canary::{Canary, own_address};
use crate::support::{Limited, Who, World, until};
use nix::sys::socket::{Backlog, listen};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// What the host's process may take at its peak, in MiB.
const MOST: u64 = 256;
/// How long others may wait, in seconds. It is far less than any limit of the program's own that could end an attack.
const PATIENCE: &str = "10";

/// As the guest's root: one attack after the other, what it opened kept open; after each, others ask, and how long they
/// waited is printed. Arguments: the ports that hang, pour and answer, an address of the host's with its port, the patience.
const ATTACKS: &str = r#"
import errno, os, random, resource, socket, struct, sys, time
hang, pour, answer = (int(a) for a in sys.argv[1:4])
others = [("127.0.0.1", answer)]
if sys.argv[4]: others.append((sys.argv[4], int(sys.argv[5])))
patience = float(sys.argv[6])
resource.setrlimit(resource.RLIMIT_NOFILE, (30000, 30000))
random.seed(7)
junk = lambda n: random.randbytes(n)

question = struct.pack("!6H", 7, 256, 1, 0, 0, 0) + b"\x09localhost\0\0\1\0\1"

def ask(what):
    for place in others:
        start = time.time()
        with socket.create_connection(place, timeout=patience) as sock:
            sock.settimeout(patience)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 200"), (what, place)
        print(f"{what}: others waited {time.time() - start:.2f} s at {place[0]}", flush=True)
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        start = time.time()
        with socket.socket(socket.AF_INET, kind) as sock:
            sock.settimeout(patience)
            sock.connect(("192.0.0.1", 53))
            whole = kind == socket.SOCK_STREAM
            sock.sendall(struct.pack("!H", len(question)) * whole + question)
            assert sock.recv(600)[2 * whole + 6:][:2] == b"\0\1", (what, "a name")
        print(f"{what}: others waited {time.time() - start:.2f} s for a name", flush=True)

def begin(place):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex(place) in (0, errno.EINPROGRESS), place
    return sock

def say(place, word):
    sock = begin(place)
    try:
        sock.send(word)
    except OSError:
        pass
    return sock

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff

def raw(protocol, payload, source=None, to=None, fragment=0):
    source, to = source or junk(4), to or bytes([203, 0, 113]) + junk(1)
    raw_socket.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 0, 7, fragment, 64, protocol, 0) + source + to + payload, (socket.inet_ntoa(to), 0))

def syn():
    source, to, port = bytes([11]) + junk(3), bytes([203, 0, 113]) + junk(1), random.randrange(1024, 65535)
    head = lambda check: struct.pack("!HHIIBBHHH", port, 80, 1, 0, 0x50, 2, 65535, check, 0)
    raw(6, head(checksum(source + to + struct.pack("!BBH", 0, 6, 20) + head(0))), source, to)

raw_socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
ask("nothing yet")
held = [begin(("127.0.0.1", hang)) for _ in range(10000)]
ask("10000 connections that hang")
for _ in range(10000): syn()
ask("10000 half-open connections of nobody")
for port in range(1, 1000):
    scan = begin(("10.0.0.1" if port % 2 else "169.254.169.254", port))
    held.append(scan)
    if port % 100 == 0: held[-100:] = []
ask("a scan of ports")
for n in range(500):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try: sock.sendto(junk(n % 700), ("192.0.0.1", 53) if n % 2 else (f"10.{n % 256}.0.1", n + 1))
    except OSError: pass
    raw(17, junk(n % 40), fragment=random.choice((0, 0x2000, 77)))
    if n % 5 == 0: held.append(sock)
ask("datagrams and packets that make no sense")
held += [say(("192.0.0.1", 53), struct.pack("!H", n) + junk(n % 300)) for n in range(300)]
held += [say(("127.0.0.1", port), junk(n % 300)) for n in range(300) for port in (3128, 1080)]
held += [say(("127.0.0.1", port), b"") for n in range(500) for port in (3128, 1080)]
ask("questions and requests that make no sense or do not end")
with socket.create_connection(("127.0.0.1", 3128), timeout=patience) as sock:
    sock.sendall(b"GET http://10.0.0.1/ HTTP/1.0\r\n\r\n")
    assert b" 403 " in sock.recv(100)
print("the proxy answers", flush=True)
held += [begin(("127.0.0.1", pour)) for n in range(400)]
ask("400 that do not read, at once")
time.sleep(3)
ask("400 that do not read")
open("/workspace/done", "w").close()
while not os.path.exists("/workspace/seen"): time.sleep(0.1)
"#;

/// A server whose queue is full: whoever connects to it waits.
fn tar_pit() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("bind");
    listen(&listener, Backlog::new(0).expect("backlog")).expect("listen");
    let addr = listener.local_addr().expect("address");
    let soon = Duration::from_millis(300);
    let full: Vec<TcpStream> = std::iter::from_fn(|| TcpStream::connect_timeout(&addr, soon).ok()).take(9).collect();
    assert!(full.len() < 9, "it takes everybody");
    (listener, full, addr)
}

/// A server that never ends to speak.
fn spring() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("bind");
    let addr = listener.local_addr().expect("address");
    // Ends with the test's process.
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            std::thread::spawn(move || while tcp.write_all(&[7; 65536]).is_ok() {});
        }
    });
    addr
}

/// The peak of a process's memory, in MiB.
fn peak(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("its peak") >> 10
}

#[test]
fn a_guest_that_attacks_is_in_nobodys_way() {
    let world = World::new(Who::nth(1));
    let (_pit, _full, pit) = tar_pit();
    let (spring, canary) = (spring(), Canary::new(LOOPBACK));
    let own = own_address().map(Canary::new);
    let all: Vec<SocketAddr> = [pit, spring, canary.addr].into_iter().chain(own.as_ref().map(|own| own.addr)).collect();
    let listed: Vec<String> = all.iter().map(|addr| format!("'{addr}'")).collect();
    world.configure(&format!("sudo = true\n[network]\nallow_hosts = [{}]\n", listed.join(", ")));
    let ports = all[..3].iter().map(|addr| addr.port().to_string());
    let own = own.map_or(["".to_owned(), "0".to_owned()], |own| [own.addr.ip().to_string(), own.port().to_string()]);
    let mut command = world.vm(&["sudo", "python3", "-c", ATTACKS]);
    let mut run = command.args(ports).args(own).arg(PATIENCE).live();
    let peak = until("the attacks are over", || {
        if run.has_ended() {
            panic!("it ended before: {:?}", run.end());
        }
        world.path("p/done").exists().then(|| peak(run.pid()))
    });
    world.write("p/seen", "");
    let done = run.end();
    println!("{}at its peak the host's process had {peak} MiB", done.out());
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert_eq!(done.err(), "", "nobody panicked, nothing is told to a pipe");
    assert!(peak < MOST, "{peak} MiB");
    world.assert_clean();
}
