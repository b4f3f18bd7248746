//! One shape for everything that can go wrong: what happened, why, and the next command to type.

use crate::exit::{REFUSED, USAGE, VM_FAILED};
use std::fmt;

/// The result of every fallible function of this crate that can fail for a reason a person should read.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure as it is shown: one sentence, its reasons from near to far, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What did not happen, without a full stop: "cannot start the virtual machine".
    pub what: String,
    /// Why, the nearest reason first.
    pub because: Vec<String>,
    /// The next command to type, or the next thing to do.
    pub next: Option<String>,
    /// The exit code of the process that gives up because of it (see [`crate::exit`]).
    pub code: u8,
}

impl Failure {
    /// The virtual machine could not be started or was lost (exit 125).
    pub fn new(what: impl Into<String>) -> Self {
        Failure { what: what.into(), because: Vec::new(), next: None, code: VM_FAILED }
    }

    /// A directory, registry or project that is not to be trusted (exit 78).
    pub fn refused(what: impl Into<String>) -> Self {
        Failure { code: REFUSED, ..Failure::new(what) }
    }

    /// Words that make no sense: an unknown flag, a bad value (exit 64).
    pub fn usage(what: impl Into<String>) -> Self {
        Failure { code: USAGE, ..Failure::new(what) }
    }

    /// Adds a reason behind those already there.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.because.push(why.to_string());
        self
    }

    /// Says what to type next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vmclaude: {}", self.what)?;
        for why in &self.because {
            write!(f, "\n  because {why}")?;
        }
        if let Some(next) = &self.next {
            write!(f, "\n  try: {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Turns any error into a [`Failure`] that says what was being done.
pub trait Context<T> {
    /// `what` is only computed on failure.
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Failure::new(what()).because(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_why_and_what_next() {
        let f = Failure::new("cannot start the virtual machine")
            .because("/dev/kvm is not writable by you")
            .next("sudo usermod -aG kvm $USER");
        assert_eq!(
            f.to_string(),
            "vmclaude: cannot start the virtual machine\n  because /dev/kvm is not writable by you\n  try: sudo usermod -aG kvm $USER"
        );
        assert_eq!(f.code, VM_FAILED);
    }
}
