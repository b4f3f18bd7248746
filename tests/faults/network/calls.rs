//! The system calls of a dial that fail, or are somebody's last.

use super::{Guest, REFUSED, UNREACHABLE};
use crate::case::{Case, Lab, Outcome};
use crate::peers::Manner::Silent;
use crate::peers::Peer;
use crate::support::{Done, Limited};
use std::collections::BTreeMap;
use std::fs;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, error, want) in [
        ("socket", "EMFILE", UNREACHABLE),
        ("socket", "ENOBUFS", UNREACHABLE),
        ("connect", "ENETUNREACH", UNREACHABLE),
        ("connect", "ECONNREFUSED", REFUSED),
        ("connect", "EACCES", UNREACHABLE),
    ] {
        cases.push(Case::new(format!("a dial's {call}"), leaked(format!("error: {error}")), move |lab| {
            let peer = Peer::new(Silent);
            let guest = Guest::dials(peer.port);
            match traced(lab, &guest, peer.port, call, &format!("error={error}"))? {
                Some(done) if done.code() == Some(i32::from(want)) => Ok(Outcome::Heard(done)),
                Some(done) => Err(format!("{want} was to be told: {done:?}")),
                None => Ok(Outcome::NotReached),
            }
        }));
    }
    for call in ["socket", "connect"] {
        cases.push(Case::new(format!("a dial's {call}"), "kill -9", move |lab| {
            let peer = Peer::new(Silent);
            let done = traced(lab, &Guest::dials(peer.port), peer.port, call, "signal=SIGKILL")?;
            Ok(done.map_or(Outcome::NotReached, Outcome::Ended))
        }));
    }
    cases
}

/// A fault's name lives as long as the test.
fn leaked(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}

/// Runs with a fault at the dial's call of this name; `None`: it did not come to it. Which of its name it is, a run without
/// faults says.
fn traced(lab: &Lab, guest: &Guest, port: u16, call: &str, fault: &str) -> Result<Option<Done>, String> {
    let log = lab.world.path("out/trace");
    let run = |expression: &str| {
        let _ = fs::remove_file(&log);
        guest.command(lab);
        let mut command = lab.world.command("strace");
        command.args(["-qq", "-o"]).arg(&log).args(["-e", expression]).arg(lab.shim()).args(["-p", "hi"]);
        let done = command.done();
        lab.as_before();
        (done, fs::read_to_string(&log).unwrap_or_default())
    };
    let (done, text) = run("trace=socket,connect");
    let (mut counts, mut socket) = (BTreeMap::<&str, usize>::new(), 0);
    for line in text.lines() {
        let name = line.split('(').next().unwrap_or_default();
        *counts.entry(name).or_default() += 1;
        if line.starts_with("socket(AF_INET, SOCK_STREAM") {
            socket = counts["socket"];
        }
        if line.contains(&format!("htons({port})")) {
            let nth = if call == "socket" { socket } else { counts["connect"] };
            let (done, text) = run(&format!("inject={call}:{fault}:when={nth}"));
            let met = text.contains("INJECTED") || text.contains("killed by SIGKILL");
            return Ok(met.then_some(done));
        }
    }
    Err(format!("no dial in a run without faults: {done:?}"))
}
