//! Names while hundreds of others hang. In namespaces of the test's own, which take root: there the host's one server for names is
//! the test.

use crate::support::netns::Namespace;
use crate::support::{Limited, Who, World};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::PathBuf;

/// Once so many names were asked for that hang, all lookups that may hang do.
const ASKED: usize = 240;

/// Asks the guest's proxy for names that hang, more of them each second than can have a turn, and when all hang that may, for others.
/// How long those took is printed.
const ASK: &str = r#"
import os, socket, sys, threading, time
def ask(name):
    start = time.time()
    found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)[0][4][0]
    print(name, found, file=sys.stdout)
    print(f"{name}: {time.time() - start:.2f} s", file=sys.stderr)
ask("known.example")
held = []
def hang():
    while True:
        held.append(socket.create_connection(("127.0.0.1", 3128)))
        held[-1].sendall(f"CONNECT hang{len(held)}.example:80 HTTP/1.1\r\n\r\n".encode())
        time.sleep(0.02)
threading.Thread(target=hang, daemon=True).start()
while not os.path.exists("hanging"): time.sleep(0.05)
print(f"{len(held)} names were asked for", file=sys.stderr)
for name in ("a", "b", "c"): ask(f"{name}.example")
ask("known.example")
"#;

/// A server that has an address for every name but for those that begin with `hang`: to these it says nothing. It tells when it was
/// asked for enough of them.
fn serve(socket: &UdpSocket, told: &PathBuf) -> std::io::Result<()> {
    let (mut hanging, mut message) = (BTreeSet::new(), [0; 600]);
    loop {
        let (length, from) = socket.recv_from(&mut message)?;
        let name = &message[12..length];
        if name.windows(4).any(|part| part == b"hang") {
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
            hanging.insert(name[..end].to_vec());
            if hanging.len() == ASKED {
                std::fs::write(told, "")?;
            }
            continue;
        }
        // The question again, without what is behind it; one address of the old kind, none of the new kind.
        let end = 12 + name.iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
        let old = message[end - 3] == 1;
        let mut answer = message[..end].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(old), 0, 0, 0, 0]);
        if old {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 7]);
        }
        socket.send_to(&answer, from)?;
    }
}

#[test]
fn names_are_found_while_hundreds_of_others_hang() {
    let net = match Namespace::new() {
        Ok(net) => net,
        Err(why) => return println!("skipped names::names_are_found_while_hundreds_of_others_hang: it takes {why}"),
    };
    let world = World::new(Who::Current);
    let told = world.path("p/hanging");
    let socket = net.run(|| UdpSocket::bind("127.0.0.1:53")).expect("a server");
    // Ends with the test's process.
    std::thread::spawn(move || serve(&socket, &told));
    // One that the system's resolver waits for.
    let list = world.write("out/resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n");
    let mut command = world.command("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"", "sh"]);
    command.arg(list).arg(world.path("opt/bin/vmclaude-container"));
    command.args(["python3", "-c", ASK]);
    let done = net.run(|| command.done());
    let found = ["known", "a", "b", "c", "known"].map(|name| format!("{name}.example 192.0.2.7\n")).concat();
    assert_eq!((done.code(), done.out()), (Some(0), found), "{}", done.err());
    println!("{}", done.err());
    world.assert_clean();
}
