//! Signals that reach us go to the guest, by name.

use crate::error::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::os::fd::IntoRawFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use vmclaude_init::wire::proto;

/// What a signal to us means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Pass it on; `true`: it came from the terminal, and so to our whole job.
    Pass(Signal, bool),
    /// The window changed; `true`: somebody says so who is not the terminal.
    Resized(bool),
    /// We were continued.
    Continued,
    /// A process of ours ended.
    Child,
    /// Somebody wants the session to end.
    Stop,
}

/// Which signals are listened to.
const LISTENED: [Signal; 10] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGTSTP,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// Above 0 a code means that the kernel sent the signal; macOS has this one of `kill`'s there.
const SI_USER: i32 = if cfg!(target_os = "macos") { 0x10001 } else { 0 };

/// Where the handler writes: the number, and whether the kernel sent it.
static TOLD: AtomicI32 = AtomicI32::new(-1);
/// Counts SIGCONT.
static CONTINUED: AtomicU32 = AtomicU32::new(0);

/// Starts listening; others may tell events too. Signals that were ignored when we were started stay ignored, as `nohup` wants it.
pub(crate) fn listen() -> Result<(mpsc::UnboundedSender<Event>, mpsc::UnboundedReceiver<Event>)> {
    let what = || "cannot listen to signals";
    let (near, far) = tokio::net::UnixStream::pair().what(what)?;
    let far = far.into_std().what(what)?;
    TOLD.store(far.into_raw_fd(), Ordering::Release); // Open for as long as the process lives, like the handler.
    let action = SigAction::new(SigHandler::SigAction(tell), SaFlags::SA_RESTART, SigSet::empty());
    for number in LISTENED.into_iter().filter(|n| *n == Signal::SIGCHLD || !is_ignored(*n)) {
        // SAFETY: the handler only uses atomics and writes to a non-blocking socket, both allowed in one.
        unsafe { sigaction(number, &action) }.what(what)?;
    }
    let (send, receive) = mpsc::unbounded_channel();
    tokio::spawn(pass(near, send.clone()));
    Ok((send, receive))
}

/// The handler.
extern "C" fn tell(number: i32, info: *mut nix::libc::siginfo_t, _: *mut nix::libc::c_void) {
    let saved = nix::errno::Errno::last();
    // SAFETY: the kernel hands a handler with SA_SIGINFO a valid siginfo.
    let code = if info.is_null() { 0 } else { unsafe { (*info).si_code } };
    let from_kernel = code > 0 && code != SI_USER;
    CONTINUED.fetch_add(u32::from(number == nix::libc::SIGCONT), Ordering::AcqRel);
    let message = [number as u8, u8::from(from_kernel)];
    // SAFETY: writes two bytes from an array that lives through the call; a full socket loses one of very many signals.
    unsafe { nix::libc::write(TOLD.load(Ordering::Acquire), message.as_ptr().cast(), message.len()) };
    saved.set();
}

async fn pass(mut near: tokio::net::UnixStream, to: mpsc::UnboundedSender<Event>) {
    let mut message = [0; 2];
    while near.read_exact(&mut message).await.is_ok() {
        let Ok(number) = Signal::try_from(i32::from(message[0])) else { continue };
        let event = match number {
            Signal::SIGCHLD => Event::Child,
            Signal::SIGWINCH => Event::Resized(message[1] == 0),
            Signal::SIGCONT => Event::Continued,
            other => Event::Pass(other, message[1] == 1),
        };
        if to.send(event).is_err() {
            return;
        }
    }
}

/// The first signal that ends us while there is no command yet that could handle it.
pub(crate) async fn deadly(events: &mut mpsc::UnboundedReceiver<Event>) -> Signal {
    loop {
        match events.recv().await {
            Some(Event::Pass(Signal::SIGTSTP, _)) => super::tty::stop_ourselves(Signal::SIGTSTP),
            Some(Event::Pass(signal, _)) => return signal,
            Some(Event::Stop) => return Signal::SIGTERM,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// How often we were continued. Who stops us can see whether we were.
pub(crate) fn continued() -> u32 {
    CONTINUED.load(Ordering::Acquire)
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

/// The signal by which we stop when this one stopped the guest's command.
pub(crate) fn stop(signal: &proto::Signal) -> Signal {
    let known = Signal::from_str(&signal.name).ok();
    known.filter(|s| matches!(s, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)).unwrap_or(Signal::SIGSTOP)
}

/// Dies of a signal as the guest's command did, without a core file; comes back only when that signal does not kill. One that
/// stops is not raised: a guest can say that its command died of it, and nobody would continue us.
pub fn die_of(number: i32) {
    if matches!(number, nix::libc::SIGSTOP | nix::libc::SIGTSTP | nix::libc::SIGTTIN | nix::libc::SIGTTOU) {
        return;
    }
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

    /// Nothing comes back from what would stop this process: the test would hang.
    #[test]
    fn nobody_is_stopped_by_how_a_guest_says_that_its_command_ended() {
        for signal in [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU] {
            die_of(signal as i32);
        }
    }
}
