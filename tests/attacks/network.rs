//! The network from inside, by mechanism: spellings of addresses are in `tests/net/attacks.rs`.

use crate::guest::Attack;
use std::io::Write;
use std::net::TcpListener;

const CLASS: &str = "network";

/// Two servers of this machine: one that guests may reach, and one that they may not.
pub(crate) struct Canary {
    pub(crate) allowed: u16,
    forbidden: u16,
}

impl Canary {
    pub(crate) fn sing() -> Canary {
        let port = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            let port = listener.local_addr().expect("addr").port();
            std::thread::spawn(move || {
                for tcp in listener.incoming() {
                    let _ = tcp.and_then(|mut tcp| tcp.write_all(b"HTTP/1.0 200 OK\r\n\r\ntweet\n"));
                }
            });
            port
        };
        Canary { allowed: port(), forbidden: port() }
    }
}

pub(crate) fn attacks(canary: &Canary) -> Vec<Attack> {
    let (bad, good) = (canary.forbidden, canary.allowed);
    // The control: the same way to the server that is allowed.
    let both = |name, script: &dyn Fn(u16) -> String| {
        // It has to succeed, also on a busy machine.
        Attack::new(CLASS, name, script(bad)).control(script(good).replace("-m 20", "-m 90"))
    };
    let (curl, patient) = ("curl -sS -m 20 --noproxy '*'", "curl -sS -m 90 --noproxy '*'");
    vec![
        both("the loopback of this machine", &|p| format!("{curl} http://127.0.0.1:{p}/ | grep -q tweet")),
        both("the loopback through the guest's proxy", &|p| {
            format!("curl -sS -m 20 -x http://127.0.0.1:3128 --noproxy '' http://127.0.0.1:{p}/ | grep -q tweet")
        }),
        both("a tunnel through the guest's proxy", &|p| {
            format!("curl -sS -m 20 -p -x http://127.0.0.1:3128 --noproxy '' http://127.0.0.1:{p}/ | grep -q tweet")
        }),
        both("the SOCKS proxy", &|p| {
            format!("curl -sS -m 20 -x socks5h://127.0.0.1:1080 --noproxy '' http://127.0.0.1:{p}/ | grep -q tweet")
        }),
        both("the SOCKS proxy by name", &|p| {
            format!("curl -sS -m 20 -x socks5h://127.0.0.1:1080 --noproxy '' http://localhost:{p}/ | grep -q tweet")
        }),
        Attack::new(
            CLASS,
            "the gateway of a user-mode network",
            format!("{curl} http://10.0.2.2:{bad}/ | grep -q tweet"),
        )
        .control(format!("{patient} http://127.0.0.1:{good}/ | grep -q tweet")),
        Attack::new(CLASS, "metadata of a cloud", format!("{curl} -o /dev/null -f http://169.254.169.254/"))
            .control(format!("{patient} http://127.0.0.1:{good}/ | grep -q tweet")),
        Attack::new(
            CLASS,
            "a name of this machine's network",
            format!("{curl} -f http://host.docker.internal:{bad}/ | grep -q tweet"),
        )
        .control(format!("{patient} http://127.0.0.1:{good}/ | grep -q tweet")),
        Attack::new(
            CLASS,
            "a route of its own",
            format!("ip route replace default dev lo; {curl} http://10.0.2.2:{bad}/ | grep -q tweet"),
        )
        .control("ip route | grep -q ."),
        Attack::new(
            CLASS,
            "a socket to the host's own kind",
            "python3 -c 'import socket; s=socket.socket(40, 1); s.settimeout(5); s.connect((2, 22))'",
        )
        .control("python3 -c 'import socket; socket.socket()'"),
    ]
}
