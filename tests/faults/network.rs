//! The guest's way out: whoever is dialled refuses, hangs, breaks off or lies, the resolver too, and somebody is killed while
//! streams are open. The guest is a program that stands in for QEMU and speaks the wire; it ends with a code that says what it
//! was told.

mod calls;
mod resolvers;

use crate::case::{Case, Lab, Outcome};
use crate::peers::Manner::{Resets, Says, Silent, Stops};
use crate::peers::Peer;
use crate::programs::HEAD;
use crate::support::{Limited, until};
use nix::sys::signal::Signal;
use std::fs;
use std::process::Command;

/// What a guest is told of a dial, behind 10: [`vmclaude_init::wire::proto::Dialled`] in its order, and no answer.
const NO_NAME: u8 = 12;
const REFUSED: u8 = 13;
const UNREACHABLE: u8 = 14;
/// What a guest ends with that waits for nothing.
const BY_ITSELF: u8 = 7;

/// A person has the session ended; or nobody asks.
const ASKED: (&str, Signal) = ("hang, and stop", Signal::SIGTERM);
const KILLED: (&str, Signal) = ("kill -9", Signal::SIGKILL);

/// A guest, and what its host's user has set up.
#[derive(Clone, Default)]
struct Guest {
    does: String,
    config: String,
    env: Vec<(&'static str, String)>,
    /// A `resolv.conf` in the place of this machine's.
    resolver: Option<String>,
}

impl Guest {
    /// One that may reach this port of ours.
    fn new(port: u16, does: &str) -> Guest {
        let config = format!("[network]\nallow_hosts = ['127.0.0.1:{port}']\n");
        let waits = "while ':%04X 02 ' % PORT not in open('/proc/net/tcp').read(): time.sleep(0.01)";
        let does =
            does.replace("HERE", "addr('127.0.0.1', PORT)").replace("DIALS", waits).replace("PORT", &port.to_string());
        Guest { does, config, ..Guest::default() }
    }

    /// Dials that port and says what it was told.
    fn dials(port: u16) -> Guest {
        Guest::new(port, "end(10 + dial(HERE))")
    }

    /// Asks through the host's proxy at that port for an address outside, which nobody dials.
    fn through_proxy(port: u16) -> Guest {
        let guest = Guest::new(port, "end(10 + dial(addr('1.1.1.1', 443)))");
        Guest { env: vec![("https_proxy", format!("http://127.0.0.1:{port}"))], ..guest }
    }

    /// Asks the API, which is at that port, and ends with a tenth of the status, or 20: no answer.
    fn asks_the_api(port: u16) -> Guest {
        let request = "b'POST /v1/messages HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\n{}'";
        let does = format!("a = opened(bytes([9]), 12, {request}); end(int(a[9:12] or 200) // 10)");
        let env = [("ANTHROPIC_API_KEY", "k".to_owned()), ("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{port}"))];
        Guest { does, config: "auth = 'host'\n".into(), env: env.into(), resolver: None }
    }

    /// Dials a name, which this resolver is asked for.
    fn dials_a_name(resolver: &str) -> Guest {
        Guest {
            does: "end(10 + dial(name('x.test', 443)))".into(),
            resolver: Some(resolver.into()),
            ..Guest::default()
        }
    }

    /// Asks for a text record, and ends with 30 and the answer's code.
    fn asks_for_a_text(resolver: &str) -> Guest {
        let question = "struct.pack('>6H', 7, 256, 1, 0, 0, 0) + b'\\1x\\4test\\0' + struct.pack('>HH', 16, 1)";
        let does = format!(
            "opened(bytes([7, 1]), 5)\nq = {question}\nsay(DATA, GUESTS, struct.pack('>H', len(q)) + q)\n\
             a = more(19)\nend(30 + (a[10] & 15))"
        );
        Guest { does, resolver: Some(resolver.into()), ..Guest::default() }
    }

    /// `claude -p hi` with this guest for a machine.
    fn command(&self, lab: &Lab) -> Command {
        let text = format!("{HEAD}{}\n{}\n", include_str!("guest.py"), self.does.replace("; ", "\n"));
        lab.qemu_with(&text, &self.config);
        let mut command = match &self.resolver {
            None => lab.run(),
            Some(text) => {
                let file = lab.world.write("out/resolver", text);
                lab.elsewhere("mount --bind \"$1\" /etc/resolv.conf", &file)
            }
        };
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [dials(), streams(), others(), resolvers::cases(), calls::cases()].concat()
}

fn dials() -> Vec<Case> {
    let waits = "say(OPEN, GUESTS, bytes([5]) + HERE); DIALS; ";
    let ends = |does: &str| format!("{waits}{does}");
    let (by_itself, for_ever) = (ends("end(7)"), ends("while True: hear()"));
    let mut cases = vec![
        Case::new("dial", "error: refused", |lab| told(lab, &Guest::dials(Peer::nobody().port), REFUSED)),
        Case::new("dial", "hang, and the guest ends", move |lab| {
            let peer = Peer::full();
            told(lab, &Guest::new(peer.port, &by_itself), BY_ITSELF)
        }),
    ];
    for (fault, signal) in [ASKED, KILLED] {
        let does = for_ever.clone();
        cases.push(Case::new("dial", fault, move |lab| {
            let peer = Peer::full();
            let dialled = format!(":{:04X} 02 ", peer.port);
            let met = || fs::read_to_string("/proc/net/tcp").is_ok_and(|all| all.contains(&dialled));
            ended_by(lab, &Guest::new(peer.port, &does), signal, met)
        }));
    }
    cases
}

/// Connections that were made.
fn streams() -> Vec<Case> {
    let open = "dial(HERE); say(DATA, GUESTS, b'x'); ";
    let guest = move |port, does: &str| Guest::new(port, &format!("{open}{does}"));
    let mut cases = vec![
        Case::new("streams are open", "error: reset", move |lab| {
            let does = "while (GUESTS, RESET) != hear(): pass\nend(7)";
            told(lab, &guest(Peer::new(Resets).port, does), BY_ITSELF)
        }),
        Case::new("streams are open", "hang, and the guest ends", move |lab| {
            // More than anybody takes.
            let peer = Peer::new(Silent);
            let done = told(lab, &guest(peer.port, "say(DATA, GUESTS, bytes(30000)); end(7)"), BY_ITSELF);
            until("nobody is at the other end", || peer.is_left().then_some(()));
            done
        }),
        Case::new("streams are open", "error: garbage from the guest", move |lab| {
            broken(lab, &guest, "wire.sendall(b'\\xff' * 4096); time.sleep(600)")
        }),
        Case::new("streams are open", "error: more than was allowed", move |lab| {
            // More than any socket on the way takes.
            broken(lab, &guest, "for n in range(1000): say(DATA, GUESTS, bytes(32000))\ntime.sleep(600)")
        }),
        Case::new("streams are open", "error: the guest is gone", move |lab| broken(lab, &guest, "sys.exit(0)")),
        Case::new("streams are open", "kill -9 of the machine", move |lab| {
            broken(lab, &guest, "os.kill(os.getpid(), 9)")
        }),
    ];
    for (fault, signal) in [ASKED, KILLED] {
        cases.push(Case::new("streams are open", fault, move |lab| {
            let peer = Peer::new(Silent);
            let done = ended_by(lab, &guest(peer.port, "while True: hear()"), signal, || peer.was_met());
            until("nobody is at the other end", || peer.is_left().then_some(()));
            done
        }));
    }
    cases
}

/// The guest breaks the wire while it has a connection: the session is lost, and the connection is gone.
fn broken(lab: &Lab, guest: &impl Fn(u16, &str) -> Guest, does: &str) -> Result<Outcome, String> {
    let peer = Peer::new(Silent);
    let done = guest(peer.port, does).command(lab).done();
    lab.as_before();
    until("nobody is at the other end", || peer.is_left().then_some(()));
    Ok(Outcome::Ended(done))
}

/// The host's own proxy, and the API where the host holds the key.
fn others() -> Vec<Case> {
    let garbage: &[u8] = b"\0\xff\xfe no answer at all\r\n\r\n";
    let no: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
    let half: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhal";
    let mut cases = vec![
        Case::new("the host's proxy", "error: refused", |lab| {
            told(lab, &Guest::through_proxy(Peer::nobody().port), UNREACHABLE)
        }),
        Case::new("the API", "error: refused", |lab| told(lab, &Guest::asks_the_api(Peer::nobody().port), 50)),
        Case::new("the API", "error: garbage", move |lab| {
            told(lab, &Guest::asks_the_api(Peer::new(Says(garbage)).port), 50)
        }),
        Case::new("the API", "error: reset", |lab| told(lab, &Guest::asks_the_api(Peer::new(Resets).port), 50)),
        Case::new("the API", "error: half an answer", move |lab| {
            told(lab, &Guest::asks_the_api(Peer::new(Says(half)).port), 20)
        }),
    ];
    for (fault, manner) in [("error: garbage", Says(garbage)), ("error: no", Says(no)), ("error: reset", Resets)] {
        cases.push(Case::new("the host's proxy", fault, move |lab| {
            told(lab, &Guest::through_proxy(Peer::new(manner).port), UNREACHABLE)
        }));
    }
    for (fault, signal) in [ASKED, KILLED] {
        for (step, guest, manner) in [
            ("the host's proxy", Guest::through_proxy as fn(u16) -> Guest, Silent),
            ("the API", Guest::asks_the_api, Silent),
            ("the API's answer", Guest::asks_the_api, Stops(half)),
        ] {
            cases.push(Case::new(step, fault, move |lab| {
                let peer = Peer::new(manner);
                // Nothing of an answer ends it.
                let guest = guest(peer.port);
                let guest = Guest {
                    does: format!("{}\n", guest.does.replace("end(", "(lambda _: time.sleep(600))(")),
                    ..guest
                };
                let done = ended_by(lab, &guest, signal, || peer.was_met());
                until("nobody is at the other end", || peer.is_left().then_some(()));
                done
            }));
        }
    }
    cases
}

/// Runs the guest to its end, which says what it was told.
fn told(lab: &Lab, guest: &Guest, want: u8) -> Result<Outcome, String> {
    let done = guest.command(lab).done();
    lab.as_before();
    match done.code() == Some(i32::from(want)) {
        true => Ok(Outcome::Heard(done)),
        false => Err(format!("{want} was to be told: {done:?}")),
    }
}

/// Ends the session in this way once this is so.
fn ended_by(lab: &Lab, guest: &Guest, signal: Signal, is_so: impl Fn() -> bool) -> Result<Outcome, String> {
    let mut live = guest.command(lab).live();
    let met = until("it is met or has ended", || is_so().then_some(true).or_else(|| live.has_ended().then_some(false)));
    if !met {
        let done = live.end();
        lab.as_before();
        return Err(format!("it ended before: {done:?}"));
    }
    match signal {
        Signal::SIGKILL => live.signal(signal),
        _ => drop(lab.world.vmclaude(&["session", "stop", "--all"]).done()),
    }
    let done = live.end();
    lab.as_before();
    match done.end() {
        (None, Some(number)) if number == signal as i32 => Ok(Outcome::Killed(done)),
        _ => Err(format!("{done:?}")),
    }
}
