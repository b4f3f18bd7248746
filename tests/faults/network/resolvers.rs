//! The host's resolver: nobody, somebody who says nothing, and somebody who lies.

use super::{ASKED, BY_ITSELF, Guest, KILLED, NO_NAME, ended_by, told};
use crate::case::Case;
use crate::support::until;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) fn cases() -> Vec<Case> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped resolvers: another resolv.conf needs root");
        return Vec::new();
    }
    // Another run of these tests may have it.
    let silent = || until("the port for names is free", || UdpSocket::bind("127.86.77.1:53").ok());
    let list = |options: &str| format!("nameserver 127.86.77.1\noptions {options}\n");
    let (fast, slow) = (list("timeout:1 attempts:1"), list("timeout:30 attempts:5"));
    let named = |resolver: &str| Guest::dials_a_name(resolver);
    let mut cases = Vec::new();
    for (step, guest, want) in [
        ("a name to dial", named as fn(&str) -> Guest, NO_NAME),
        ("a question for names", |resolver: &str| Guest::asks_for_a_text(resolver), 32),
    ] {
        let resolver = fast.clone();
        cases.push(Case::new(step, "error: no resolver", move |lab| {
            told(lab, &Guest { resolver: Some("nameserver 127.86.77.2\n".into()), ..guest("") }, want)
        }));
        cases.push(Case::new(step, "hang until the resolver is given up", move |lab| {
            let _silent = silent();
            told(lab, &guest(&resolver), want)
        }));
        let resolver = fast.clone();
        cases.push(Case::new(step, "error: garbage", move |lab| {
            let liar = silent();
            let stop = liar.try_clone().map_err(|e| e.to_string())?;
            liar.set_read_timeout(Some(Duration::from_millis(50))).map_err(|e| e.to_string())?;
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::SeqCst) {
                        if let Ok((_, from)) = liar.recv_from(&mut [0; 512]) {
                            let _ = stop.send_to(&[0xff; 40], from);
                        }
                    }
                });
                let done = told(lab, &guest(&resolver), want);
                over.store(true, Ordering::SeqCst);
                done
            })
        }));
    }
    for (fault, signal) in [("hang, and the guest ends", None), (ASKED.0, Some(ASKED.1)), (KILLED.0, Some(KILLED.1))] {
        let resolver = slow.clone();
        cases.push(Case::new("a name to dial", fault, move |lab| {
            let silent = silent();
            silent.set_nonblocking(true).map_err(|e| e.to_string())?;
            let asked = || silent.recv(&mut [0; 512]).is_ok();
            let opens = "say(OPEN, GUESTS, bytes([5]) + name('x.test', 443))";
            // Until the question is under way.
            let asks = "while '014D567F:0035' not in open('/proc/net/udp').read(): time.sleep(0.01)";
            let Some(signal) = signal else {
                let does = format!("{opens}\n{asks}\nend(7)");
                return told(lab, &Guest { does, ..named(&resolver) }, BY_ITSELF);
            };
            ended_by(lab, &Guest { does: format!("{opens}\ntime.sleep(600)"), ..named(&resolver) }, signal, asked)
        }));
    }
    cases
}
