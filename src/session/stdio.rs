//! What stdin, stdout and stderr are here, and so in the guest.

use super::tty;
use nix::sys::stat::{SFlag, fstat};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use vmclaude_init::wire::proto::Stdio;

/// The streams as facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What each is. A terminal that is not the controlling one is a pipe: the guest's program has one terminal, and that is
    /// the other end of ours.
    pub(crate) kinds: [Stdio; 3],
    /// Which are terminals, ours or not.
    pub(crate) screens: [bool; 3],
    /// Whether stdout is a pipe.
    pub(crate) piped: bool,
    /// Whether we are the foreground job of our controlling terminal.
    pub(crate) foreground: bool,
}

/// Reads the facts; `tty` says which streams are terminals, `closed` which were closed, `terminal` is the controlling one.
pub(crate) fn facts(tty: [bool; 3], closed: [bool; 3], terminal: Option<&File>) -> Facts {
    let streams: [BorrowedFd<'_>; 3] = [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()]
        // SAFETY: these three are open for the whole life of the process: the runtime opens /dev/null where one was closed.
        .map(|fd| unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(&fd)) });
    let kind = |n: usize| match tty[n] {
        _ if closed[n] => Stdio::Closed,
        true if terminal.is_some() && tty::is_controlling(streams[n]) => Stdio::Terminal,
        false if is_null(streams[n]) => Stdio::Null,
        _ => Stdio::Pipe,
    };
    Facts {
        kinds: [kind(0), kind(1), kind(2)],
        screens: tty,
        piped: fstat(streams[1]).is_ok_and(|s| SFlag::from_bits_truncate(s.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO),
        foreground: terminal.is_some_and(tty::is_foreground),
    }
}

fn is_null(fd: BorrowedFd<'_>) -> bool {
    let (Ok(this), Ok(null)) = (fstat(fd), nix::sys::stat::stat("/dev/null")) else { return false };
    SFlag::from_bits_truncate(this.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR && this.st_rdev == null.st_rdev
}

impl Facts {
    /// Whether keys are ours: never in the background, never when a pipe follows us, whose reader may want them.
    pub(crate) fn takes_keys(&self) -> bool {
        match self.kinds {
            _ if !self.foreground => false,
            [_, Stdio::Terminal, _] => true,
            [Stdio::Terminal, ..] => !self.piped,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_only_by_who_may_have_them() {
        use Stdio::{Null, Pipe, Terminal};
        let facts = |kinds, piped, foreground| Facts { kinds, screens: [true; 3], piped, foreground };
        assert!(facts([Terminal; 3], false, true).takes_keys());
        assert!(facts([Pipe, Terminal, Terminal], false, true).takes_keys(), "echo x | claude");
        assert!(!facts([Terminal, Pipe, Terminal], true, true).takes_keys(), "claude | less");
        assert!(facts([Terminal, Pipe, Terminal], false, true).takes_keys(), "cat > file");
        assert!(!facts([Null, Pipe, Pipe], false, true).takes_keys());
        assert!(!facts([Terminal; 3], false, false).takes_keys(), "in the background");
    }
}
