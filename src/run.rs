//! One invocation, top to bottom.

use crate::cli::args::RunFlags;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use std::ffi::OsString;

/// Runs Claude in a VM for the current directory.
///
/// # Errors
/// When the VM cannot be started or was lost.
pub fn claude(host: &Host, flags: &RunFlags, args: Vec<OsString>) -> Result<Exit> {
    command(host, flags, std::iter::once(OsString::from("claude")).chain(args).collect())
}

/// Runs a command in a VM for the current directory.
///
/// # Errors
/// When the VM cannot be started or was lost.
pub fn command(_host: &Host, _flags: &RunFlags, _argv: Vec<OsString>) -> Result<Exit> {
    Err(Failure::new("not there yet"))
}
