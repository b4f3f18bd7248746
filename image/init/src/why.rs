//! Why there is no command, as the process that should have become it tells us.

use nix::errno::Errno;
use std::io;

/// Why a process did not become the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The process could not be made ready for any command.
    Unready(Errno),
    /// The directory to start in cannot be changed to.
    Directory(Errno),
    /// The command cannot be executed.
    Command(Errno),
}

impl Why {
    /// Without an error of the kernel's it is the socket that ended too early.
    pub(crate) fn unready(e: impl Into<io::Error>) -> Why {
        Why::Unready(Errno::from_raw(e.into().raw_os_error().unwrap_or(libc::EIO)))
    }

    /// As the process tells it.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let (step, errno) = match self {
            Why::Unready(errno) => (0, errno),
            Why::Directory(errno) => (1, errno),
            Why::Command(errno) => (2, errno),
        };
        (step << 32 | u64::from(errno as u32)).to_ne_bytes()
    }

    /// As we hear it.
    pub(crate) fn of(bytes: [u8; 8]) -> Why {
        let number = u64::from_ne_bytes(bytes);
        let errno = Errno::from_raw(number as u32 as i32);
        match number >> 32 {
            1 => Why::Directory(errno),
            2 => Why::Command(errno),
            _ => Why::Unready(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        for why in [Why::Unready(Errno::EPERM), Why::Directory(Errno::ENOENT), Why::Command(Errno::EACCES)] {
            assert_eq!(Why::of(why.bytes()), why);
        }
        assert_eq!(Why::unready(io::Error::from(io::ErrorKind::UnexpectedEof)), Why::Unready(Errno::EIO));
    }
}
