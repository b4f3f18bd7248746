//! Settings without a terminal.

use crate::deeds::Deed;
use crate::seen::Seen;
use crate::settings::Setting;
use crate::support::{World, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// Runs the program in a process group of its own, as a shell does.
pub(crate) fn see(world: &World, setting: Setting, deed: &Deed) -> Seen {
    let words = setting.words();
    let mut command = world.command(words[0]);
    command.args(&words[1..]).process_group(0);
    let stdin = if setting == Setting::Null { Stdio::null() } else { Stdio::piped() };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (input, to) = (deed.stdin(), child.stdin.take());
    // It may end before it has read everything.
    std::thread::spawn(move || to.map(|mut to| to.write_all(&input)));
    let err = all(child.stderr.take().expect("stderr"), Duration::ZERO);
    let out = output(&mut child, deed);
    if let Deed::Gets(signal, caught) = deed {
        send(world, *signal, *caught, setting);
    }
    let status = until("it has ended", || child.try_wait().expect("wait"));
    let mut seen = Seen::default();
    seen.note("end", format!("{:?} {:?}", status.code(), status.signal()));
    seen.note("out", out(&mut child));
    seen.note("err", err.join().expect("a reader"));
    seen
}

/// Gives what was read, at the end.
type Reader = Box<dyn FnOnce(&mut Child) -> Vec<u8>>;

/// Somebody reads stdout: at once, slowly, only a byte, or only afterwards.
fn output(child: &mut Child, deed: &Deed) -> Reader {
    if *deed == Deed::FullPipe {
        return Box::new(|child| all(child.stdout.take().expect("stdout"), Duration::ZERO).join().expect("a reader"));
    }
    let mut out = child.stdout.take().expect("stdout");
    if *deed == Deed::ReaderGone {
        out.read_exact(&mut [0; 1]).expect("a byte");
        drop(out);
        return Box::new(|_| Vec::new());
    }
    let nap = if *deed == Deed::SlowReader { Duration::from_millis(1) } else { Duration::ZERO };
    let reader = all(out, nap);
    Box::new(|_| reader.join().expect("a reader"))
}

fn all(mut from: impl Read + Send + 'static, nap: Duration) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let (mut all, mut some) = (Vec::new(), vec![0; if nap.is_zero() { 1 << 16 } else { 997 }]);
        while let Ok(n @ 1..) = from.read(&mut some) {
            all.extend(&some[..n]);
            std::thread::sleep(nap); // How slow it is, not how long one waits for something.
        }
        all
    })
}

/// Sends the signal to the program, once it is ready, and ends it where that is no end.
pub(crate) fn send(world: &World, signal: Signal, caught: bool, setting: Setting) {
    let pid = ready(world);
    kill(pid, signal).expect("kill");
    if signal == Signal::SIGTSTP && !caught {
        until("it is stopped", || (state(pid) == Some('T')).then_some(()));
        kill(pid, Signal::SIGCONT).expect("kill");
        until("it goes on", || (state(pid) != Some('T')).then_some(()));
    }
    let harmless = [Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGTSTP].contains(&signal);
    if harmless && !caught || setting == Setting::Nohup && signal == Signal::SIGHUP {
        kill(pid, Signal::SIGTERM).expect("kill");
    }
}

/// Waits until the program says that it runs: its process.
pub(crate) fn ready(world: &World) -> Pid {
    until("the program is ready", || world.path("p/ready").exists().then_some(()));
    let text = fs::read_to_string(world.path("p/pid")).expect("a number");
    Pid::from_raw(text.trim().parse().expect("a number"))
}

/// The letter for what a process does; `None`: it is gone.
pub(crate) fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}
