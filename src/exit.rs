//! How a run ends, and the numbers that we give ourselves.

/// Command-line words that make no sense (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;
/// A program started itself again and again instead of the host's claude (EX_SOFTWARE).
pub const LOOP: u8 = 70;
/// Refused for reasons of trust: damaged registry, replaced directory (EX_CONFIG).
pub const REFUSED: u8 = 78;
/// The virtual machine could not be started, or was lost.
pub const VM_FAILED: u8 = 125;
/// The command was found in the guest and could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found (in the guest), or there is no claude on the host.
pub const NOT_FOUND: u8 = 127;

/// The end of one run, as the parent shall see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// An ordinary exit with this code.
    Code(u8),
    /// Death by this signal (this system's number); the process that reports it dies of the same signal.
    Signal(i32),
}

impl Exit {
    /// Success.
    pub const OK: Exit = Exit::Code(0);

    /// What a shell shows in `$?`: the code, or 128 plus the signal's number.
    pub fn shell_code(self) -> u8 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(n) => u8::try_from(128 + n).unwrap_or(u8::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_plus_its_number_in_the_shell() {
        assert_eq!(Exit::Code(37).shell_code(), 37);
        assert_eq!(Exit::Signal(15).shell_code(), 143);
        assert_eq!(Exit::Signal(200).shell_code(), 255);
    }
}
