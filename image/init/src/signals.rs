//! Signals by name, to whom they are for.

use crate::command::Running;
use crate::keys;
use nix::sys::signal::{Signal, kill, killpg};
use vmclaude_init::wire::proto::{self, Reach};

/// A signal by the name that other systems know it by; real-time signals have none.
pub(crate) fn named(number: i32) -> proto::Signal {
    let name = Signal::try_from(number).map_or("", Signal::as_str);
    proto::Signal { name: name.to_owned(), number: number as u8 }
}

/// To the command, or to the group that a terminal would send it to.
pub(crate) fn deliver(running: &Running, signal: Signal, reach: Reach) {
    let terminal = running.terminal.as_ref();
    let foreground = terminal.and_then(|t| nix::unistd::tcgetpgrp(t).ok()).filter(|p| p.as_raw() > 0);
    let key = terminal.filter(|_| reach == Reach::Key).and_then(|t| Some((t, keys::key_for(t, signal)?)));
    let result = match (reach, key) {
        (Reach::Process, _) => kill(running.pid, signal),
        (_, Some((terminal, key))) => nix::unistd::write(terminal, &[key]).map(drop),
        (_, None) => killpg(foreground.unwrap_or(running.pid), signal),
    };
    if let Err(e) = result {
        crate::sys::log(&format!("{signal}: {e}"));
    }
}
