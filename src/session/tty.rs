//! The host's terminal: borrowed, and always given back.

use super::keeper::Keeper;
use crate::error::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::termios::{
    InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr,
};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use vmclaude_init::wire::proto::{SignalKeys, WinSize};

/// What a program may have switched on and a dead one cannot switch off: character sets, insertion, margins (whose end would move
/// the cursor), cursor keys and keypad, other screens, mouse, focus, bracketed paste, reports of colours and sizes, synchronised
/// output, keys of Windows and kitty, modifyOtherKeys, colours. What types into the shell comes first.
pub(super) const RESET: &[u8] =
    b"\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\
    \x1b[?1004l\x1b[?2048l\x1b[?2031l\x1b[?9001l\x1b[<u\x1b[=0u\x1b[>4m\x1b[?1l\x1b>\x1b[?2004l\x1b[?2026l\
    \x1b[?1049l\x1b[?1047l\x1b[?47l\x1b7\x1b[r\x1b[?69l\x1b8\x0f\x1b(B\x1b[4l\x1b[?5l\x1b[?7h\x1b[?25h\x1b[0m";

/// What to give back when the process panics or is about to die: descriptor and settings.
static BORROWED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
/// Who gives it back when we are killed, once there is something to give back.
static KEEPER: Mutex<Option<Keeper>> = Mutex::new(None);
/// The program that a keeper runs.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The controlling terminal, when this process has one.
pub(crate) fn controlling() -> Option<File> {
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// Whether this terminal is the one that this process's session has. Of another one the kernel says nothing about jobs.
pub(crate) fn is_controlling(terminal: impl AsFd) -> bool {
    nix::unistd::tcgetpgrp(terminal).is_ok()
}

/// Whether we are the job that the terminal belongs to.
pub(crate) fn is_foreground(terminal: impl AsFd) -> bool {
    nix::unistd::tcgetpgrp(terminal).is_ok_and(|group| group == nix::unistd::getpgrp())
}

/// Whether the terminal's other end is gone: its window was closed, or its connection lost.
pub(crate) fn is_gone(terminal: impl AsFd) -> bool {
    tcgetattr(terminal) == Err(nix::Error::EIO)
}

/// The terminal's size.
pub(crate) fn size(terminal: impl AsFd) -> WinSize {
    let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize, which lives through the call.
    unsafe { nix::libc::ioctl(terminal.as_fd().as_raw_fd(), nix::libc::TIOCGWINSZ, &raw mut size) };
    WinSize { rows: size.ws_row, cols: size.ws_col, width: size.ws_xpixel, height: size.ws_ypixel }
}

/// Raw mode for as long as this lives. Dropped without [`Raw::leave`] the guest is lost, and what it switched on is switched off.
pub(crate) struct Raw(());

impl Raw {
    /// From now on keys are what they are in the guest, see [`Raw::follow`].
    pub(crate) fn enter(terminal: impl AsFd, keys: Option<SignalKeys>, lines: bool) -> Result<Raw> {
        let what = || "cannot change the terminal";
        let fd = terminal.as_fd().try_clone_to_owned().what(what)?;
        let before = tcgetattr(&fd).what(what)?;
        keeper(&fd, |keeper| keeper.borrowed(&before));
        let modes = modes(&before, keys, lines);
        set(&fd, &modes).what(what)?;
        *lock() = Some((fd, before));
        Ok(Raw(()))
    }

    /// Makes the terminal's signal keys signals, as they are in the guest: then they reach everybody in our job, as they
    /// would if the command ran here. `None`: they are bytes like all others. With `lines`, the key that ends a line does
    /// so: then whoever reads what the guest has not wanted finds it as it would be.
    pub(crate) fn follow(&self, keys: Option<SignalKeys>, lines: bool) {
        if let Some((fd, before)) = lock().as_ref() {
            let _ = set(fd, &modes(before, keys, lines));
        }
    }
}

fn modes(before: &Termios, keys: Option<SignalKeys>, lines: bool) -> Termios {
    let mut modes = before.clone();
    cfmakeraw(&mut modes);
    if let Some(keys) = keys {
        modes.local_flags |= LocalFlags::ISIG;
        modes.control_chars[SpecialCharacterIndices::VINTR as usize] = keys.interrupt;
        modes.control_chars[SpecialCharacterIndices::VQUIT as usize] = keys.quit;
        modes.control_chars[SpecialCharacterIndices::VSUSP as usize] = keys.suspend;
    }
    modes.input_flags.set(InputFlags::ICRNL, lines && before.input_flags.contains(InputFlags::ICRNL));
    modes
}

impl Raw {
    /// Gives the terminal back to somebody who goes on, or ended by itself: its modes are its own business, as they would be here.
    pub(crate) fn leave(self) {
        give_back();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back_reset();
    }
}

/// Puts the terminal back as it was. Does nothing when it is not borrowed.
pub(crate) fn give_back() {
    if let Some((fd, before)) = lock().take() {
        let _ = set(&fd, &before);
        keeper(&fd, |keeper| keeper.given_back(&before));
    }
}

/// Puts the terminal back as it was, and switches off what a guest that died without cleaning up may have left on.
pub(crate) fn give_back_reset() {
    if let Some((fd, before)) = lock().take() {
        let _ = nix::unistd::write(&fd, RESET);
        let _ = set(&fd, &before);
        keeper(&fd, |keeper| keeper.given_back(&before));
    }
}

/// Talks to the terminal's keeper, who is started when there is none.
fn keeper(terminal: &OwnedFd, talk: impl FnOnce(&mut Keeper)) {
    let mut keeper = KEEPER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if keeper.is_none() {
        let started = PROGRAM.get().map(|program| Keeper::start(program, terminal));
        *keeper = started.and_then(|k| k.inspect_err(|e| tracing::warn!("nobody keeps the terminal: {e}")).ok());
    }
    if let Some(keeper) = keeper.as_mut() {
        talk(keeper);
    }
}

/// Waits for the keeper's end, when the terminal is given back for good.
pub(crate) fn dismiss_keeper() {
    drop(KEEPER.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
}

/// Prepares for the worst: `program`, which is ours, keeps the terminal, and a panic's message is printed to one that was given back.
pub(crate) fn prepare(program: &Path) {
    let _ = PROGRAM.set(program.to_path_buf());
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        give_back();
        previous(info);
    }));
}

fn lock() -> std::sync::MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    BORROWED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Sets the modes, also from the background, where the kernel would stop us for it.
pub(super) fn set(fd: &OwnedFd, to: &Termios) -> nix::Result<()> {
    let mut ttou = SigSet::empty();
    ttou.add(Signal::SIGTTOU);
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ttou), Some(&mut before))?;
    let result = tcsetattr(fd, SetArg::TCSADRAIN, to);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    result
}

/// Stops this process by the signal that stopped the guest's command, and the whole job where that came from its terminal;
/// comes back when it is continued, or at once when the kernel does not let it be stopped: then nobody could continue it.
pub(crate) fn stop_ourselves(signal: Signal) {
    if signal == Signal::SIGSTOP {
        let _ = nix::sys::signal::raise(signal);
        return;
    }
    let action = |handler| SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring runs no code of ours, and neither does the default.
    let ours = unsafe { sigaction(signal, &action(SigHandler::SigIgn)) };
    // The others of the job first: once we are stopped it is too late.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), signal);
    // SAFETY: as above.
    let _ = unsafe { sigaction(signal, &action(SigHandler::SigDfl)) };
    let _ = nix::sys::signal::raise(signal);
    if let Ok(ours) = ours {
        // SAFETY: puts back what was there.
        let _ = unsafe { sigaction(signal, &ours) };
    }
}

#[cfg(test)]
mod tests {
    use super::RESET;

    /// Modes that a guest may leave as they are: looks (blinking, scrolling, speed of keys, columns, wrapping backwards, widths of
    /// characters), and what each terminal has a default of its own for and no harm comes of (the wheel on other screens, which
    /// code backspace and Meta send, the keypad's lock). Margins bound 6; 1048 is a saved cursor.
    const LEFT: [u16; 18] = [3, 4, 6, 8, 12, 40, 45, 66, 67, 1007, 1034, 1035, 1036, 1039, 1045, 1048, 2027, 7];

    #[test]
    fn every_mode_that_a_guest_may_switch_on_is_switched_off_or_known_to_do_no_harm() {
        let text = String::from_utf8(RESET.to_vec()).expect("ASCII");
        for mode in crate::screen::MODES {
            let value = if *mode == 25 { 'h' } else { 'l' };
            let off = text.contains(&format!("\x1b[?{mode}{value}"));
            assert!(off != LEFT.contains(mode), "{mode}: {off}");
        }
        let mut filter = crate::screen::Filter::new(crate::screen::Clipboard::Deny);
        let mut out = Vec::new();
        filter.feed(RESET, &mut out);
        assert_eq!(out, RESET, "nothing but whole sequences of the usual kinds");
    }
}
