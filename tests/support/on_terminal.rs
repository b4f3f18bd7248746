//! Programs on a terminal of their own.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Starts the command as the leader of a session whose terminal this is.
pub(crate) fn start(mut command: Command, terminal: OwnedFd) -> Child {
    let end = || Stdio::from(terminal.try_clone().expect("dup"));
    command.stdin(end()).stdout(end()).stderr(end());
    // SAFETY: setsid and ioctl are async-signal-safe; descriptor 0 is the terminal by then.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            nix::errno::Errno::result(nix::libc::ioctl(0, nix::libc::TIOCSCTTY as _, 0))?;
            Ok(())
        });
    }
    command.spawn().expect("it starts")
}
