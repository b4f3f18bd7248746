//! IPv6 between a guest and the world, where the host has it and where not. In network namespaces of the tests' own, which
//! take root: in one is the session, in the other one a server that looks like one of the public Internet's.

use crate::support::canary::{Canary, SONG, echo};
use crate::support::cases::{self, Case};
use crate::support::netns::Namespace;
use crate::support::{Who, World};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

/// A network with public addresses, seen by nobody else: the session's end and the other one, which is the way to all else.
const OWN: &str = "2600:0:0:6::1";
const NEIGHBOUR: &str = "2600:0:0:6::2";
/// The server on the Internet, behind that one.
const SERVER: &str = "2600:0:0:7::2";
/// The server's other addresses: a private one, and how a translator would spell the session's loopback.
const PRIVATE: &str = "fd00:0:0:6::2";
const TRANSLATED: &str = "64:ff9b::7f00:1";
/// The session's end on the link itself.
const LINK: &str = "fe80::6";

/// Without the proxies' variables.
const UNSET: &str = "unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY NODE_USE_ENV_PROXY\n";
/// Asks the proxy whatever the guest's NO_PROXY says; only the status counts.
const PROXIED: &str = "curl -sS --max-time 20 --noproxy '' -o /dev/null -w '%{http_code}\\n'";
/// Asks nobody; a reset may meet curl while it connects (7), has sent (52), sends (55) or receives (56).
const DIRECT: &str = "curl -6 -sS --max-time 20 --noproxy '*'";
/// Default routes, in whatever table. What refuses packets has this metric, and is always there.
const ROUTES: &str = "awk '$2 == \"00\" && $6 != \"ffffffff\" { print $10 }' /proc/net/ipv6_route | sort";

/// The session's namespace and the server's.
struct Net {
    here: Namespace,
    there: Namespace,
}

impl Net {
    fn new() -> Result<Net, &'static str> {
        let (here, there) = (Namespace::new()?, Namespace::new()?);
        let interfaces = here.run(|| std::fs::read_to_string("/proc/thread-self/net/if_inet6"));
        interfaces.ok().filter(|known| !known.is_empty()).ok_or("a kernel with IPv6")?;
        here.join(&there, "six")?;
        let address = |end: &Namespace, addr: &str| end.ip(&format!("-6 addr add {addr} dev six nodad"));
        address(&here, &format!("{OWN}/64"));
        address(&here, &format!("{LINK}/64"));
        address(&there, &format!("{NEIGHBOUR}/64"));
        for addr in [SERVER, PRIVATE, TRANSLATED] {
            address(&there, &format!("{addr}/128"));
        }
        here.ip(&format!("-6 route add default via {NEIGHBOUR} dev six"));
        Ok(Net { here, there })
    }
}

/// A forbidden place: how it is written, a name for it, and the server that is there.
struct Place {
    url: &'static str,
    name: &'static str,
    canary: Canary,
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn places(net: &Net) -> Vec<Place> {
    let listen = |end: &Namespace, addr: &str| end.run(|| Canary::new(ip(addr)));
    let place = |url, name, canary| Place { url, name, canary };
    let link: u32 = net.here.run(|| nix::net::if_::if_nametoindex("six")).expect("the link");
    let on_link = std::net::SocketAddrV6::new(LINK.parse().expect("an address"), 0, 0, link);
    vec![
        place("::1", "loopback.six.test", listen(&net.here, "::1")),
        place("::ffff:127.0.0.1", "mapped.six.test", listen(&net.here, "127.0.0.1")),
        place(OWN, "own.six.test", listen(&net.here, OWN)),
        place(NEIGHBOUR, "neighbour.six.test", listen(&net.there, NEIGHBOUR)),
        place(PRIVATE, "private.six.test", listen(&net.there, PRIVATE)),
        place(TRANSLATED, "translated.six.test", listen(&net.there, TRANSLATED)),
        place(LINK, "link.six.test", net.here.run(|| Canary::at(on_link.into()))),
    ]
}

/// vmclaude-container, on a host whose own list of names has these.
fn session(world: &World, flags: &[String], places: &[Place]) -> Command {
    let names = places.iter().map(|place| format!("{} {}\n", place.url, place.name));
    let hosts = world.write("out/hosts", format!("{SERVER} six.test\n{}", names.collect::<String>()));
    let mut command = world.command("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"", "sh"]);
    command.arg(hosts).arg(world.path("opt/bin/vmclaude-container")).args(flags);
    command
}

/// Clients as they are, with the proxies' variables and without.
fn works(server: SocketAddr, echo: SocketAddr) -> Vec<Case> {
    let port = server.port();
    // Whom curl really talked to is told behind what it heard: with -4 and -6 that family's end of the proxy.
    let curl = |flag: &str, place: &str| {
        format!("curl {flag} -sS --max-time 20 -w ' %{{remote_ip}} %{{remote_port}}' http://{place}:{port}/")
    };
    let python = "python3 -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode(), end=\"\")'";
    let node = "node -e 'fetch(process.argv[1]).then(r => r.text()).then(t => process.stdout.write(t))'";
    let datagram = "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(20)\n\
        s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b\"x\" * 8000); print(len(s.recv(65535)))";
    let direct = format!("{SONG} {SERVER} {port}");
    let proxied = |end: &str| format!("{SONG} {end} 3128");
    let (addr, name) = (format!("[{SERVER}]"), "six.test");
    vec![
        Case::out("a way out", ROUTES, "lo\nvm0\n"),
        Case::out("curl, by address", UNSET.to_owned() + &curl("-6", &addr), &*direct),
        Case::out("curl, by name", UNSET.to_owned() + &curl("-6", name), &*direct),
        Case::out("python, by address", format!("{UNSET}{python} http://{addr}:{port}/"), SONG),
        Case::out("python, by name", format!("{UNSET}{python} http://{name}:{port}/"), SONG),
        Case::out("node, by name", format!("{UNSET}{node} http://{name}:{port}/"), SONG),
        Case::out("curl, by address and proxy", curl("-6", &addr), proxied("::1")),
        Case::out("curl, by name and proxy", curl("-6", name), proxied("::1")),
        Case::out("curl, by name and the proxy's other address", curl("-4", name), proxied("127.0.0.1")),
        Case::out("python, by address and proxy", format!("{python} http://{addr}:{port}/"), SONG),
        Case::out("node, by name and proxy", format!("{node} http://{name}:{port}/"), SONG),
        Case::out("a datagram", format!("python3 -c '{datagram}' {SERVER} {}", echo.port()), "8000\n"),
    ]
}

/// What is refused, by address and by name, through the proxy and without it, and datagrams.
fn refused(places: &[Place], here: SocketAddr) -> Vec<Case> {
    let each = |act: &dyn Fn(&Place) -> String| places.iter().map(act).collect::<String>();
    let proxied = each(&|Place { url, name, canary }| {
        let port = canary.port();
        format!("{PROXIED} 'http://[{url}]:{port}/'\n{PROXIED} http://{name}:{port}/\n")
    });
    let direct = each(&|Place { url, name, canary }| {
        let port = canary.port();
        format!("{DIRECT} 'http://[{url}]:{port}/' && echo {url}\n{DIRECT} http://{name}:{port}/ && echo {name}\n")
    });
    let on_link = places.last().expect("the link").canary.port();
    let datagram = "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.settimeout(20)\n\
        s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b\"x\")\n\
        try: print(s.recv(9))\nexcept ConnectionRefusedError: print(\"refused\")";
    vec![
        Case::out("refused by the proxy", proxied, "403\n".repeat(2 * places.len())),
        Case::out("refused without", direct + "true", ""),
        Case::fails("refused on the link", format!("{DIRECT} 'http://[{LINK}%25vm0]:{on_link}/'"), "curl: ("),
        Case::out("a datagram, refused", format!("python3 -c '{datagram}' {OWN} {}", here.port()), "refused\n"),
    ]
}

/// The same places where the user named them, so that it was no accident that they were closed. The host's loopback is then
/// the guest's, too.
fn named(places: &[Place]) -> Vec<Case> {
    let script = |client: &str| {
        let ask = |Place { url, canary, .. }: &Place| format!("{client} 'http://[{url}]:{}/'\n", canary.port());
        places.iter().map(ask).collect::<String>()
    };
    let heard = SONG.repeat(places.len());
    vec![
        Case::out("named, by the proxy", script("curl -sS --max-time 20 --noproxy ''"), &*heard),
        Case::out("named, without", script(DIRECT), heard),
    ]
}

#[test]
fn a_public_address_is_reached_and_no_other() {
    let net = match Net::new() {
        Ok(net) => net,
        Err(why) => return println!("skipped ipv6::a_public_address_is_reached_and_no_other: it takes {why}"),
    };
    let world = World::new(Who::Current);
    let server = net.there.run(|| Canary::new(ip(SERVER)));
    let (far, near) = (net.there.run(|| echo(ip(SERVER))), net.here.run(|| echo(ip(OWN))));
    let mut places = places(&net);
    let all = [works(server.addr, far), refused(&places, near)].concat();
    net.here.run(|| cases::check_by(&world, session(&world, &[], &places), &all));
    assert_eq!(server.hits(), 10);
    assert_eq!(places.iter().map(|place| place.canary.hits()).collect::<Vec<_>>(), [0; 7]);
    // Nobody can name an address of one link only. That somebody is there, the session's own end can tell.
    let link = places.pop().expect("the link").canary;
    net.here.run(|| std::net::TcpStream::connect(link.addr)).expect("somebody on the link");
    let flags: Vec<String> =
        places.iter().flat_map(|place| ["--allow-host".to_owned(), place.canary.addr.to_string()]).collect();
    net.here.run(|| cases::check_by(&world, session(&world, &flags, &places), &named(&places)));
    assert_eq!(places.iter().map(|place| place.canary.hits()).collect::<Vec<_>>(), [2; 6]);
}

#[test]
fn where_the_host_has_no_way_out_the_guest_knows_at_once() {
    let here = match Namespace::new() {
        Ok(here) => here,
        Err(why) => {
            return println!("skipped ipv6::where_the_host_has_no_way_out_the_guest_knows_at_once: it takes {why}");
        }
    };
    let world = World::new(Who::Current);
    let url = format!("http://[{SERVER}]/");
    // Nobody need wait until a time is over, not even where all is emulated.
    let soon = |act: &str| {
        format!("start=$(date +%s%N)\n{act}\n[ $((($(date +%s%N) - start) / 1000000)) -lt 5000 ] && echo soon")
    };
    // Its own start, which is slow where all is emulated, does not count.
    let python = format!(
        "python3 -c 'import socket, time\nstart = time.monotonic()\n\
         try: socket.create_connection((\"{SERVER}\", 80), 60)\nexcept OSError as e: print(e.errno)\n\
         print(time.monotonic() - start < 5)'"
    );
    let curl = "curl -6 -sS --max-time 60 --noproxy '*'";
    let all = [
        Case::out("no way out", ROUTES, ""),
        Case::out("curl", soon(&format!("{curl} {url}; echo $?")), "7\nsoon\n"),
        Case::out("curl, by name", soon(&format!("{curl} http://six.test/; echo $?")), "7\nsoon\n"),
        Case::out("python", python, format!("{}\nTrue\n", libc::ENETUNREACH)),
        Case::out("through the proxy", soon(&format!("{PROXIED} {url}")), "504\nsoon\n"),
    ];
    here.run(|| cases::check_by(&world, session(&world, &[], &[]), &all));
}
