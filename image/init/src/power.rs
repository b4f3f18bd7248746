//! The end: nobody left, nothing mounted that has unwritten data, power off.

use crate::Place;
use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long what the command left running has to end by itself.
const GRACE: Duration = Duration::from_millis(500);

/// Ends every process but us: asked first, then killed. Returns when none is left.
pub(crate) fn end_everybody() {
    let everybody = Pid::from_raw(-1);
    if reap() {
        return;
    }
    let _ = kill(everybody, Signal::SIGTERM);
    let _ = kill(everybody, Signal::SIGHUP);
    let _ = kill(everybody, Signal::SIGCONT);
    let asked = Instant::now();
    while !reap() {
        if asked.elapsed() > GRACE {
            let _ = kill(everybody, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reaps the dead; whether no process is left.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return false,
            Err(Errno::ECHILD) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// Ends this process, at whose end PID 1 powers off. Does not come back.
pub(crate) fn gone() -> ! {
    // SAFETY: ends the process at once; nothing here needs to be dropped.
    unsafe { libc::_exit(0) }
}

/// Kills what is left and powers off, or ends the container. Does not come back.
pub(crate) fn off(place: Place) -> ! {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    if place == Place::Container {
        gone();
    }
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        nix::unistd::pause();
    }
}
