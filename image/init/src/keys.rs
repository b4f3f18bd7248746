//! The terminal's signal keys, as the command has set them.

use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, Termios, tcgetattr};
use nix::unistd::{Pid, tcgetpgrp};
use std::os::fd::OwnedFd;
use vmclaude_init::wire::proto::SignalKeys;

/// The keys that would send signals to the command's own process group; `None` while they are bytes, or while another
/// job, such as one of a shell's, has the terminal.
pub(crate) fn signal_keys(terminal: &OwnedFd, command: Pid) -> Option<SignalKeys> {
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
