//! What the guest may reach of this machine's network: nothing, but what was named.

use crate::support::canary::{Canary, SONG, own_address};
use crate::support::{Case, Who, World, cases};
use std::net::{IpAddr, Ipv4Addr};

/// Where the tests' own clients, servers and namespaces are: see there.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vm/net");

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Asks the proxy whatever the guest's NO_PROXY says.
const PROXIED: &str = "curl -sS --max-time 20 --noproxy '' -o /dev/stderr -w '%{http_code}\\n'";

/// A reset may meet curl while it connects (7), sends (55) or receives (56).
const REFUSED: &str = "curl: (";

#[test]
fn loopback_and_own_addresses_are_out_of_reach() {
    let world = World::new(Who::nth(1));
    let canary = Canary::new(LOOPBACK);
    let port = canary.port();
    let mut cases = vec![
        Case::fails("directly", format!("curl -sS --max-time 20 http://127.0.0.1:{port}/"), "curl: (7)"),
        Case::out(
            "the proxies are set",
            "echo $HTTP_PROXY $https_proxy $NO_PROXY $NODE_USE_ENV_PROXY",
            "http://localhost:3128 http://localhost:3128 localhost,127.0.0.1,::1,0.0.0.0,vmclaude 1\n",
        ),
        Case::out("no card but the supervisor's own", "ls /sys/class/net", "lo\nvm0\n"),
        Case::fails("caught", "curl -sS --max-time 20 --noproxy '*' http://169.254.169.254/", REFUSED),
        Case::fails(
            "tunnel",
            format!("curl -sS --max-time 20 --noproxy '' --proxytunnel http://127.0.0.1:{port}/"),
            "403",
        ),
    ];
    let mut names: Vec<String> =
        ["127.0.0.1", "localhost", "127.1", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "127.9.9.9"]
            .map(str::to_owned)
            .to_vec();
    let own = own_address().map(Canary::new);
    match &own {
        Some(own) => {
            names.push(own.addr.ip().to_string());
            let direct = format!("curl -sS --max-time 20 --noproxy '*' http://{}/", own.addr);
            cases.push(Case::fails("own address, without a proxy", direct, REFUSED));
        }
        None => println!("skipped own_address_is_out_of_reach: this machine has no address but loopback"),
    }
    let ports = names.iter().map(|n| own.as_ref().filter(|o| o.addr.ip().to_string() == *n).map_or(port, Canary::port));
    let script: String =
        names.iter().zip(ports).map(|(n, port)| format!("{PROXIED} 'http://{n}:{port}/' 2>/dev/null\n")).collect();
    cases.push(Case::out("through the proxy", script + "true", "403\n".repeat(names.len())));
    let other = ["169.254.169.254", "10.0.2.2", "192.168.1.1", "metadata.google.internal", "[fe80::1]", "[fd00::1]"];
    let script: String = other.iter().map(|n| format!("{PROXIED} 'http://{n}/' 2>/dev/null\n")).collect();
    cases.push(Case::new(
        "private and metadata",
        script + "true",
        crate::support::cases::Want::Has("403\n403\n403\n".into()),
    ));
    cases::check(&world, &[], &cases);
    assert_eq!(canary.hits(), 0);
    assert_eq!(own.map_or(0, |own| own.hits()), 0);
}

#[test]
fn an_allowed_address_is_reached_and_only_that() {
    for who in Who::all() {
        let world = World::new(*who);
        let (allowed, other) = (Canary::new(LOOPBACK), Canary::new(LOOPBACK));
        let (yes, no) = (allowed.port(), other.port());
        // Another address with the same port, of which the guest's loopback has only one.
        let second = Canary::at(([127, 0, 0, 2], yes).into());
        let cases = [
            Case::out("allowed, directly", format!("curl -sS http://127.0.0.1:{yes}/"), SONG),
            Case::out("allowed, by name", format!("curl -sS http://localhost:{yes}/"), SONG),
            Case::out("allowed, by the proxy", format!("curl -sS --noproxy '' http://127.0.0.1:{yes}/"), SONG),
            Case::out("the other address", format!("curl -sS --noproxy '' http://{}/", second.addr), SONG),
            Case::out("its neighbour", format!("{PROXIED} http://127.0.0.1:{no}/ 2>/dev/null"), "403\n"),
            Case::fails("its neighbour, directly", format!("curl -sS http://127.0.0.1:{no}/"), "curl: (7)"),
        ];
        let named = [&second, &allowed].map(|canary| canary.addr.to_string());
        cases::check(&world, &["--allow-host", &named[0], "--allow-host", &named[1]], &cases);
        assert_eq!((allowed.hits(), second.hits(), other.hits()), (3, 1, 0));
    }
}

/// What a system's programs are found by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// curl, git, ssh, apt, npm, pip, a WebSocket, datagrams, resets and more, as they are, with the proxies' variables and without:
/// against servers in a network namespace, which takes root. In the full run a connection is idle for ten minutes.
#[test]
fn unmodified_clients_work() {
    let is_there = |name: &str| PATH.split(':').any(|dir| std::path::Path::new(dir).join(name).exists());
    let missing = ["ip", "openssl", "dropbear", "dpkg-deb"].into_iter().find(|name| !is_there(name));
    if let Some(why) = if nix::unistd::geteuid().is_root() { missing } else { Some("root") } {
        println!("skipped network::unmodified_clients_work: it takes {why}");
        return;
    }
    let world = World::new(Who::Current);
    let idle = if option_env("VMCLAUDE_TESTS").is_some_and(|tests| tests == "full") { "600" } else { "10" };
    let mut script = world.command(SCRIPT);
    script.arg(world.path("opt/bin/vmclaude-container")).arg(idle).env("PATH", PATH);
    script.env("VM_NET_IMAGES", world.path("home/.local/share/vmclaude/images"));
    let done = script.output().expect("tests/vm/net");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    println!("{said}");
}

#[allow(clippy::disallowed_methods)] // Host is for the program
fn option_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
