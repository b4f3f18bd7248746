//! The processes of a session: started in order, killed together.

use super::child::{self, Handles, Running};
use crate::engine::launch::{FIRST_FD, Launch, Program};
use crate::engine::qemu::SHARE_SOCKET;
use crate::error::{Context, Result};
use crate::plan::Plan;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

/// What runs for this session. All of it is killed when dropped.
pub(super) struct Processes {
    machine: Running,
    share: Option<Running>,
}

impl Processes {
    /// Starts everything; the stream is the near end of the wire.
    pub(super) fn start(plan: &Plan, launch: &Launch, dir: &Path) -> Result<(Processes, UnixStream)> {
        let share = launch.share.as_ref().map(|program| start_share(plan, program, dir)).transpose()?;
        let (near, far) = UnixStream::pair().what(|| "cannot make the wire")?;
        let handles = Handles { run_dir: dir, wire: Some(far.as_fd()), share: None };
        let machine = child::start(&launch.machine, &handles, "machine.log", Stdio::null())?;
        Ok((Processes { machine, share }, near))
    }

    /// The process that should not have ended and has.
    pub(super) fn gone(&mut self) -> Option<&'static str> {
        match (self.machine.is_gone(), self.share.as_mut().is_some_and(Running::is_gone)) {
            (true, _) => Some("the machine's process ended"),
            (_, true) => Some("the share server ended"),
            _ => None,
        }
    }

    /// How those that ended by themselves ended. A share server that is no longer needed says so by 0.
    pub(super) fn ended(&mut self) -> Vec<String> {
        let machine = self.machine.ended().map(|how| format!("the machine, {how}"));
        let share = self.share.as_mut().and_then(Running::ended).filter(|how| !how.ends_with(" exited with 0"));
        machine.into_iter().chain(share.map(|how| format!("the share server, {how}"))).collect()
    }
}

impl Drop for Processes {
    /// The machine first: without it the share server ends by itself, and takes the process in its own namespace with it,
    /// which outlives a killed one by a moment. Who runs us must not find it.
    fn drop(&mut self) {
        self.machine.kill();
        let _ = self.share.as_mut().and_then(Running::ended);
    }
}

/// The share listens before its server runs and before the machine connects: nobody waits for a socket to appear.
fn start_share(plan: &Plan, program: &Program, dir: &Path) -> Result<Running> {
    let what = || "cannot offer the share";
    let opened = File::open(dir).what(what)?;
    // A path through the descriptor, because a socket's own path may have 107 bytes only.
    let path = format!("/proc/self/fd/{}/{SHARE_SOCKET}", opened.as_raw_fd());
    let listener = UnixListener::bind(path).what(what)?;
    let handles = Handles { run_dir: dir, wire: None, share: Some(listener.as_fd()) };
    let (read, write) = std::io::pipe().what(what)?;
    let server = child::start(program, &handles, "share.log", Stdio::from(read))?;
    let dirs: Vec<i32> = (FIRST_FD + 1..).take(plan.mounts.len()).collect();
    let config = crate::share::Config::new(plan, &dirs, FIRST_FD, std::process::id())?;
    serde_json::to_writer(write, &config).what(what)?;
    Ok(server)
}
