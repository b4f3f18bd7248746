//! The terminal's keys: which of them are signals, and which of them are wanted.
//!
//! A command that reads lines gets a line when it waits for one, and not before: what nobody reads stays in the host's
//! terminal, for the shell that comes next, as if the command ran there. A program that handles single keys, and a shell
//! with jobs of its own, get every key at once.

use crate::demand;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use vmclaude_init::wire::proto::{Keys, SignalKeys, ToHost};

/// How long until the next look for a reader, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(64));

/// What the host was told of the keys, and what it waits for.
pub(crate) struct Watch {
    told: (Option<SignalKeys>, Keys),
    /// Keys wait in the host's terminal behind so many others.
    waiting: Option<u64>,
    again: Duration,
    next: Instant,
    /// Counts the bytes of keys that the terminal here has got.
    pub(crate) typed: Arc<AtomicU64>,
    /// Counts the bytes that it has shown.
    pub(crate) shown: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch {
            told: (Some(SignalKeys::USUAL), Keys::Held),
            waiting: None,
            again: AGAIN.0,
            next: Instant::now(),
            typed: Arc::default(),
            shown: Arc::default(),
        }
    }

    /// The host has keys.
    pub(crate) fn keys_wait(&mut self, behind: u64) {
        (self.waiting, self.again, self.next) = (Some(behind), AGAIN.0, Instant::now());
    }

    /// When to look again for a reader; `None`: nobody waits for that.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.waiting.map(|_| self.next)
    }

    /// What the host has to be told now. `ours` is our end of the terminal, `theirs` the command's.
    pub(crate) fn news(&mut self, ours: &OwnedFd, theirs: Option<&OwnedFd>, command: Pid) -> Vec<ToHost> {
        let mut news = Vec::new();
        let now = signal_keys(ours, command);
        if now != self.told.0 {
            self.told.0 = now;
            news.push(ToHost::SignalKeys(now));
        }
        let keys = match (now.is_some() && reads_lines(ours), self.waiting) {
            (false, _) => Keys::All,
            (true, Some(behind)) if self.is_due() && is_wanted(behind > self.typed(), theirs, command) => Keys::Line,
            (true, _) => Keys::Held,
        };
        if keys != Keys::Held {
            self.waiting = None;
        }
        if keys == Keys::Line || keys != self.told.1 {
            // The host holds by itself behind a line.
            self.told.1 = if keys == Keys::Line { Keys::Held } else { keys };
            news.push(ToHost::Keys(keys));
        }
        news
    }

    /// Waits until everything that was written to the terminal is read from it: how much that was.
    pub(crate) async fn all_shown(&self, ours: &OwnedFd) -> u64 {
        // A terminal that somebody else fills without an end must not keep a stop from being told.
        for _ in 0..100 {
            if poll(&mut [PollFd::new(ours.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.shown.load(Ordering::Acquire)
    }

    /// Whether it is time for a look, which costs something, and so for the next one.
    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + self.again;
            self.again = (self.again * 2).min(AGAIN.1);
        }
        due
    }

    fn typed(&self) -> u64 {
        self.typed.load(Ordering::Acquire)
    }
}

/// Whether somebody waits for a line and has read all that was there; not while keys are on their way.
fn is_wanted(under_way: bool, theirs: Option<&OwnedFd>, command: Pid) -> bool {
    let Some(theirs) = theirs else { return true };
    // Polling makes the kernel finish what was typed before, so that a reader that got its line is seen to have it.
    let mut fds = [PollFd::new(theirs.as_fd(), PollFlags::POLLIN)];
    let unread = poll(&mut fds, PollTimeout::ZERO) != Ok(0);
    !under_way && !unread && demand::is_there(command, theirs)
}

fn reads_lines(terminal: &OwnedFd) -> bool {
    tcgetattr(terminal).is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ICANON))
}

/// The keys that would send signals to the command's own process group; `None` while they are bytes, or while another
/// job, such as one of a shell's, has the terminal.
fn signal_keys(terminal: &OwnedFd, command: Pid) -> Option<SignalKeys> {
    let modes = tcgetattr(terminal).ok()?;
    let its_job = tcgetpgrp(terminal).is_ok_and(|group| group == command);
    (its_job && modes.local_flags.contains(LocalFlags::ISIG)).then(|| SignalKeys {
        interrupt: key(&modes, SpecialCharacterIndices::VINTR),
        quit: key(&modes, SpecialCharacterIndices::VQUIT),
        suspend: key(&modes, SpecialCharacterIndices::VSUSP),
    })
}

/// The key that the terminal turns into `signal`, while it does that.
pub(crate) fn key_for(terminal: &OwnedFd, signal: Signal) -> Option<u8> {
    let modes = tcgetattr(terminal).ok()?;
    let key = match signal {
        Signal::SIGINT => key(&modes, SpecialCharacterIndices::VINTR),
        Signal::SIGQUIT => key(&modes, SpecialCharacterIndices::VQUIT),
        Signal::SIGTSTP => key(&modes, SpecialCharacterIndices::VSUSP),
        _ => 0,
    };
    (modes.local_flags.contains(LocalFlags::ISIG) && key != 0).then_some(key)
}

fn key(modes: &Termios, index: SpecialCharacterIndices) -> u8 {
    modes.control_chars[index as usize]
}
