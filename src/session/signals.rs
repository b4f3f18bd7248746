//! Signals that reach us go to the guest, by name.

use crate::error::{Context, Result};
use nix::sys::signal::Signal;
use std::str::FromStr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vmclaude_init::wire::proto;

/// What a signal to us means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Pass it on; `true`: to the whole group, as the terminal would send it.
    Pass(Signal, bool),
    /// The window changed.
    Resized,
    /// We were continued.
    Continued,
    /// A process of ours ended.
    Child,
}

/// Which signals are listened to, and whether they are for the whole group.
const PASSED: [(Signal, bool); 7] = [
    (Signal::SIGINT, true),
    (Signal::SIGQUIT, true),
    (Signal::SIGHUP, true),
    (Signal::SIGTSTP, true),
    (Signal::SIGTERM, false),
    (Signal::SIGUSR1, false),
    (Signal::SIGUSR2, false),
];

/// Starts listening. Signals that were ignored when we were started stay ignored, as `nohup` wants it.
pub(crate) fn listen() -> Result<mpsc::UnboundedReceiver<Event>> {
    let (send, receive) = mpsc::unbounded_channel();
    for (number, group) in PASSED {
        if !is_ignored(number) {
            forward(number, Event::Pass(number, group), send.clone())?;
        }
    }
    forward(Signal::SIGCHLD, Event::Child, send.clone())?;
    forward(Signal::SIGWINCH, Event::Resized, send.clone())?;
    forward(Signal::SIGCONT, Event::Continued, send)?;
    Ok(receive)
}

fn forward(number: Signal, event: Event, to: mpsc::UnboundedSender<Event>) -> Result<()> {
    let mut stream = signal(SignalKind::from_raw(number as i32)).what(|| format!("cannot listen to {number}"))?;
    tokio::spawn(async move { while stream.recv().await.is_some() && to.send(event.clone()).is_ok() {} });
    Ok(())
}

fn is_ignored(number: Signal) -> bool {
    let mut now = std::mem::MaybeUninit::<nix::libc::sigaction>::uninit();
    // SAFETY: sigaction with a null new action only writes the old one, which lives through the call.
    let rc = unsafe { nix::libc::sigaction(number as i32, std::ptr::null(), now.as_mut_ptr()) };
    // SAFETY: written by the call when it succeeded.
    rc == 0 && unsafe { now.assume_init() }.sa_sigaction == nix::libc::SIG_IGN
}

/// The signal's name for the guest.
pub(crate) fn named(number: Signal) -> proto::Signal {
    proto::Signal { name: number.as_str().to_owned(), number: number as u8 }
}

/// This system's number of the guest's signal, when it has one.
pub(crate) fn number(signal: &proto::Signal) -> Option<i32> {
    match signal.name.as_str() {
        "" => cfg!(target_os = "linux").then_some(i32::from(signal.number)),
        name => Signal::from_str(name).ok().map(|s| s as i32),
    }
}

/// Dies of a signal as the guest's command did, without a core file; comes back only when that signal does not kill.
pub fn die_of(number: i32) {
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: a default disposition runs no code of ours; the set is initialised before it is used.
    unsafe {
        nix::libc::signal(number, nix::libc::SIG_DFL);
        let mut set = std::mem::MaybeUninit::uninit();
        nix::libc::sigemptyset(set.as_mut_ptr());
        nix::libc::sigaddset(set.as_mut_ptr(), number);
        nix::libc::sigprocmask(nix::libc::SIG_UNBLOCK, set.as_ptr(), std::ptr::null_mut());
        nix::libc::raise(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_travel_by_name() {
        assert_eq!(named(Signal::SIGUSR1).name, "SIGUSR1");
        let theirs = |name: &str, number| proto::Signal { name: name.into(), number };
        assert_eq!(number(&theirs("SIGUSR1", 30)), Some(Signal::SIGUSR1 as i32), "the name counts, not the number");
        assert_eq!(number(&theirs("SIGWHAT", 3)), None);
    }
}
