//! The terminal's keeper: a small process that outlives us for a moment, and gives the terminal back when we could not,
//! because we were killed by a signal that nobody can catch.

use super::tty;
use crate::exit::Exit;
use nix::sys::termios::{ControlFlags, InputFlags, LocalFlags, OutputFlags, Termios, cfmakeraw, tcgetattr};
use std::ffi::OsStr;
use std::io::{PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The hidden subcommand: the terminal is its stdout, words of ours its stdin.
pub const VERB: &str = "__keeper";

/// Flags and keys of a terminal, and whether it is borrowed.
const WORD: usize = 1 + 4 * 8 + KEYS;
const KEYS: usize = nix::libc::NCCS;

/// The keeper of our terminal. It is gone when this is dropped.
pub(super) struct Keeper {
    child: Child,
    words: Option<PipeWriter>,
}

impl Keeper {
    /// Starts one for `terminal`.
    pub(super) fn start(program: &Path, terminal: impl AsFd) -> std::io::Result<Keeper> {
        let (read, write) = std::io::pipe()?;
        let mut command = Command::new(program);
        command.arg(OsStr::new(VERB)).env_clear().current_dir("/");
        command.stdin(read).stdout(terminal.as_fd().try_clone_to_owned()?).stderr(Stdio::null());
        // SAFETY: setsid is a system call that allocates nothing. In a session of its own, no key and no job control
        // reaches it.
        unsafe { command.pre_exec(|| Ok(nix::unistd::setsid().map(drop)?)) };
        Ok(Keeper { child: command.spawn()?, words: Some(write) })
    }

    /// From now on the terminal is borrowed and was like this.
    pub(super) fn borrowed(&mut self, before: &Termios) {
        self.say(&encode(true, before));
    }

    /// From now on it is given back.
    pub(super) fn given_back(&mut self, before: &Termios) {
        self.say(&encode(false, before));
    }

    fn say(&mut self, word: &[u8]) {
        if let Some(words) = &mut self.words {
            let _ = words.write_all(word); // One that was killed is missed only if we are killed too.
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}

fn encode(borrowed: bool, modes: &Termios) -> [u8; WORD] {
    let mut word = [0; WORD];
    word[0] = u8::from(borrowed);
    let flags = [
        wide(modes.input_flags.bits()),
        wide(modes.output_flags.bits()),
        wide(modes.control_flags.bits()),
        wide(modes.local_flags.bits()),
    ];
    word[1..33].copy_from_slice(flags.as_flattened());
    word[33..].copy_from_slice(&modes.control_chars);
    word
}

/// Flags are of another size on macOS.
fn wide(flags: impl Into<u64>) -> [u8; 8] {
    flags.into().to_le_bytes()
}

/// The modes of a word, on top of those that the terminal has.
fn decode(word: &[u8; WORD], mut modes: Termios) -> Termios {
    let mut flags = word[1..33].chunks(8).map(|bytes| bytes.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)));
    let mut next = || flags.next().unwrap_or_default() as _;
    modes.input_flags = InputFlags::from_bits_retain(next());
    modes.output_flags = OutputFlags::from_bits_retain(next());
    modes.control_flags = ControlFlags::from_bits_retain(next());
    modes.local_flags = LocalFlags::from_bits_retain(next());
    modes.control_chars.copy_from_slice(&word[33..]);
    modes
}

/// The keeper itself: waits for our end, and then does what we did not do.
pub fn keep() -> Exit {
    let mut last = [0; WORD];
    let mut word = [0; WORD];
    while std::io::stdin().read_exact(&mut word).is_ok() {
        last = word;
    }
    let terminal = std::io::stdout();
    if last[0] == 1
        && let (Ok(now), Ok(fd)) = (tcgetattr(&terminal), terminal.as_fd().try_clone_to_owned())
    {
        give_back(&fd, &now, &decode(&last, now.clone()));
    }
    Exit::OK
}

/// The modes only while they are still ours: a shell that was faster has set its own.
fn give_back(terminal: &OwnedFd, now: &Termios, before: &Termios) {
    let mut ours = before.clone();
    cfmakeraw(&mut ours);
    let shape = |m: &Termios| {
        let signals = LocalFlags::ISIG;
        (m.input_flags - InputFlags::ICRNL, m.output_flags, m.local_flags - signals)
    };
    let _ = nix::unistd::write(terminal, tty::RESET);
    if shape(now) == shape(&ours) {
        let _ = tty::set(terminal, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_all_of_a_terminals_settings() {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let modes = tcgetattr(&pty.slave).expect("settings");
        let mut other = modes.clone();
        cfmakeraw(&mut other);
        other.control_chars.fill(9);
        // The type also compares a form of its own, which it renews only when it is used.
        let all = |t: &Termios| (t.input_flags, t.output_flags, t.control_flags, t.local_flags, t.control_chars);
        assert_ne!(all(&other), all(&modes));
        assert_eq!(all(&decode(&encode(true, &modes), other)), all(&modes));
    }
}
