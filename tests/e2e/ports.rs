//! Ports of the guest that are reached from here.

use crate::sessions::{json, session};
use crate::support::{Limited, Who, World, until};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Serves one word for each connection.
const SERVER: &str = "touch ready; exec python3 -c '
import socket
server = socket.create_server((\"127.0.0.1\", 5173))
while True:
    there, _ = server.accept()
    line = there.makefile().readline()
    there.sendall(b\"the guest heard \" + line.encode())
    there.close()
'";

fn say(port: u16, word: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    writeln!(stream, "{word}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a port").port()
}

#[test]
fn a_port_of_the_guest_is_reached_here_and_only_while_it_runs() {
    let world = World::new(Who::nth(1));
    let (port, configured, taken) =
        (free_port(), free_port(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    world.configure(&format!("[ports]\nforward = [\"{configured}:5173\"]\n"));
    let live = world.start(SERVER);
    let both = format!("{port}:5173");
    let done = session(&world, &["forward", &both]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    let answer = until("the server listens", || say(port, "one").ok().filter(|a| !a.is_empty()));
    assert_eq!(answer, "the guest heard one\n");
    assert_eq!(say(configured, "two").expect("connected"), "the guest heard two\n");
    // Twenty at once.
    let many: Vec<_> = (0..20).map(|n| std::thread::spawn(move || say(port, &n.to_string()))).collect();
    for (n, one) in many.into_iter().enumerate() {
        assert_eq!(one.join().expect("joins").expect("connected"), format!("the guest heard {n}\n"));
    }
    // On the loopback only.
    let listens = fs::read_to_string("/proc/net/tcp").expect("tcp");
    let here = format!("0100007F:{port:04X} 00000000:0000 0A");
    assert!(listens.contains(&here) && !listens.contains(&format!("00000000:{port:04X} ")), "{listens}");
    let shown = json(&world)["sessions"][0]["forwards"].clone();
    assert!(shown.as_array().expect("a list").iter().any(|f| f["host"] == port && f["guest"] == 5173), "{shown}");
    assert!(world.vmclaude(&["status"]).done().out().contains(&format!("127.0.0.1:{port} -> 5173")));
    // Nobody listens there in the guest: as here, the connection fails, and the session goes on.
    let nobody = free_port();
    assert_eq!(session(&world, &["forward", &format!("{nobody}:9")]).code(), Some(0));
    assert!(say(nobody, "x").is_err());
    let other = taken.local_addr().expect("an address").port().to_string();
    session(&world, &["forward", &other])
        .assert_failure(125, &["cannot forward port", "another program", "session forward"]);
    session(&world, &["forward", &format!("{port}:99")]).assert_failure(125, &["leads to the guest's port 5173"]);
    for bad in ["0", "http", "5173:", "65536", "127.0.0.1:80"] {
        session(&world, &["forward", bad]).assert_failure(64, &["is no port", "vmclaude session forward 8080:80"]);
    }
    // A second session cannot have the configured port, and runs without it.
    assert_eq!(world.vm(&["true"]).done().code(), Some(0));
    assert_eq!(say(port, "three").expect("connected"), "the guest heard three\n");
    assert_eq!(session(&world, &["stop"]).code(), Some(0));
    drop(live);
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(), "it ended with the session");
    session(&world, &["forward", &both]).assert_failure(64, &["there is no session", "vmclaude session list"]);
    world.assert_clean();
}

/// Listens where some dev servers do, on the other loopback. Reads to the end and answers then, and nobody before everybody is
/// there, when somebody says so.
const COUNTS: &str = "exec python3 -c '
import socket, threading
server = socket.create_server((\"::1\", 5174), family=socket.AF_INET6, backlog=256)
open(\"ready\", \"w\").close()
here = threading.Barrier(200)
def serve(there):
    first = there.recv(4)
    if first == b\"wait\": here.wait()
    count = len(first)
    while some := there.recv(1 << 16): count += len(some)
    there.sendall(b\"%d bytes\" % count)
    there.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
'";

#[test]
fn forwarded_connections_end_one_side_at_a_time_and_two_hundred_are_open_at_once() {
    let world = World::new(Who::nth(1));
    let port = free_port();
    let live = world.start(COUNTS);
    assert_eq!(session(&world, &["forward", &format!("{port}:5174")]).code(), Some(0));
    let count = move |bytes: Vec<u8>| -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(120)))?;
        stream.write_all(&bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    assert_eq!(count(vec![b'x'; 3_000_000]).expect("answered"), "3000000 bytes");
    let many: Vec<_> =
        (0..200).map(|n| std::thread::spawn(move || count([b"wait".to_vec(), vec![b'x'; n]].concat()))).collect();
    for (n, one) in many.into_iter().enumerate() {
        assert_eq!(one.join().expect("joins").expect("answered"), format!("{} bytes", 4 + n));
    }
    assert_eq!(session(&world, &["stop"]).code(), Some(0));
    drop(live);
    world.assert_clean();
}

/// A port that only root may have: where the host lets everybody have it, there is nothing to refuse.
#[test]
fn a_port_that_this_user_may_not_have_is_refused_with_what_to_type() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("the first port");
    let world = World::new(Who::nth(1));
    if first.trim().parse::<u16>().expect("a number") <= 81
        || world.who == Who::Current && nix::unistd::geteuid().is_root()
    {
        return println!(
            "skipped ports::a_port_that_this_user_may_not_have_is_refused_with_what_to_type: this user may have every port"
        );
    }
    let live = world.start("touch ready; sleep 600");
    session(&world, &["forward", "81"])
        .assert_failure(125, &["cannot forward port 81", "so low a port", "vmclaude session forward 8081:81"]);
    assert_eq!(session(&world, &["stop"]).code(), Some(0));
    drop(live);
    world.assert_clean();
}
