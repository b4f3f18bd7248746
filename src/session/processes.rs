//! The processes of a session with QEMU: started in order, killed together.

use super::child::{self, Handles, Running};
use super::converse;
use super::machine::Machine;
use super::scratch;
use super::socket;
use super::template::{self, Copy, Template};
use super::volume::Held;
use crate::engine::launch::{FIRST_FD, Qemu, Warm};
use crate::engine::qemu::SHARE_SOCKET;
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::profile;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::sync::oneshot;
use vmclaude_init::wire::mux::Wire;

/// What runs for this session. All of it is killed when dropped.
pub(super) struct Processes {
    machine: Running,
    share: Option<Running>,
    dir: PathBuf,
    /// The machine's.
    memory: File,
    events: Option<UnixStream>,
}

/// Where a machine that was just started is reached.
struct Reach {
    /// The near end of its wire.
    wire: UnixStream,
    /// Says when a copy runs and has its share; `None`: this one boots, and says so by its hello.
    ready: Option<oneshot::Receiver<Result<()>>>,
}

/// Starts the machine, as a copy where that can be done, and connects. `slot` holds whatever runs.
pub(super) async fn start(
    plan: &Plan,
    launch: &Qemu,
    dir: &Path,
    volume: Option<&Held>,
    slot: &mut Option<Machine>,
) -> Result<Wire> {
    if let Some(warm) = launch.warm.as_deref() {
        match copied(plan, (launch, warm), dir, volume, slot).await {
            Ok(Some(wire)) => return Ok(wire),
            Ok(None) => {}
            Err(e) => {
                tracing::warn!(why = e.because.join(": "), "{}; starting from power-on", e.what);
                template::discard(&warm.template);
                *slot = None;
            }
        }
    }
    let (processes, reach) = Processes::boot(plan, launch, dir, volume)?;
    *slot = Some(Machine::Qemu(processes));
    profile::mark("QEMU is started");
    converse::connect(asynchronous(reach.wire)?).await
}

fn asynchronous(wire: UnixStream) -> Result<tokio::net::UnixStream> {
    let what = || "cannot prepare the wire";
    wire.set_nonblocking(true).what(what)?;
    tokio::net::UnixStream::from_std(wire).what(what)
}

/// The wire to a copy, once it runs and has its share; `None`: there is no template. Nothing of the user's has reached
/// the machine up to here, so after a failure it can be booted instead.
async fn copied(
    plan: &Plan,
    (launch, warm): (&Qemu, &Warm),
    dir: &Path,
    volume: Option<&Held>,
    slot: &mut Option<Machine>,
) -> Result<Option<Wire>> {
    if !warm.template.exists() {
        return Ok(None);
    }
    let template = Template::open(&warm.template)?;
    let (processes, reach) = Processes::copy(plan, launch, (warm, template), dir, volume)?;
    *slot = Some(Machine::Qemu(processes));
    profile::mark("QEMU is started");
    let ready = async {
        match reach.ready {
            Some(ready) => ready.await.unwrap_or_else(|_| Err(converse::lost("nobody saw to its start"))),
            None => Ok(()),
        }
    };
    let (wire, ()) = tokio::try_join!(converse::connect(asynchronous(reach.wire)?), ready)?;
    Ok(Some(wire))
}

impl Processes {
    /// Starts everything, the machine from power-on.
    fn boot(plan: &Plan, launch: &Qemu, dir: &Path, volume: Option<&Held>) -> Result<(Processes, Reach)> {
        console_log(dir)?;
        let listener = launch.share.as_ref().map(|_| listen(dir)).transpose()?;
        let (wire, far) = UnixStream::pair().what(|| "cannot make the wire")?;
        let memory = scratch::memory(plan.limits.memory)?;
        let volume = volume.map(Held::as_fd);
        let handles = Handles { wire: Some(far.as_fd()), memory: Some(memory.as_fd()), volume, ..Handles::of(dir) };
        let machine = child::start(&launch.machine, &handles, "machine.log", Stdio::null())?;
        let (share, events) = start_share(plan, launch, listener.as_ref(), dir)?;
        Ok((Processes { machine, share, events, dir: dir.to_path_buf(), memory }, Reach { wire, ready: None }))
    }

    /// Starts everything, the machine as a copy.
    fn copy(
        plan: &Plan,
        launch: &Qemu,
        (warm, template): (&Warm, Template),
        dir: &Path,
        volume: Option<&Held>,
    ) -> Result<(Processes, Reach)> {
        console_log(dir)?;
        let listener = launch.share.as_ref().map(|_| listen(dir)).transpose()?;
        let Copy { machine, memory, wire, ready } = template::start(warm, template, dir, volume)?;
        let (share, events) = start_share(plan, launch, listener.as_ref(), dir)?;
        Ok((Processes { machine, share, events, dir: dir.to_path_buf(), memory }, Reach { wire, ready: Some(ready) }))
    }

    /// Their numbers.
    pub(super) fn pids(&self) -> Vec<u32> {
        std::iter::once(&self.machine).chain(&self.share).map(Running::pid).collect()
    }

    /// The machine's memory.
    pub(super) fn memory(&self) -> Option<File> {
        self.memory.try_clone().ok()
    }

    /// The connection to the share server for what the host changes; once.
    pub(super) fn events(&mut self) -> Option<UnixStream> {
        self.events.take()
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
        if machine.is_some() {
            hang_up(&self.dir);
        }
        let share = self.share.as_mut().and_then(Running::ended).filter(|how| !how.ends_with(" exited with 0"));
        machine.into_iter().chain(share.map(|how| format!("the share server, {how}"))).collect()
    }
}

impl Drop for Processes {
    /// The machine first: without it the share server ends by itself, and takes the process in its own namespace with it,
    /// which outlives a killed one by a moment. Who runs us must not find it.
    fn drop(&mut self) {
        self.machine.kill();
        hang_up(&self.dir);
        let _ = self.share.as_mut().and_then(Running::ended);
    }
}

/// A share server that no machine has reached yet would wait for one: it gets a visitor who leaves at once. One that was
/// reached listens no more.
fn hang_up(dir: &Path) {
    drop(socket::connect(dir, SHARE_SOCKET));
}

/// QEMU would make the console's log as the umask says. One that is there keeps its mode.
fn console_log(dir: &Path) -> Result<()> {
    let mut log = File::options();
    log.write(true).create(true).truncate(false).mode(0o600);
    log.open(dir.join("console.log")).map(drop).what(|| "cannot make the console's log")
}

/// The share listens before its server runs and before the machine connects: nobody waits for a socket to appear.
fn listen(dir: &Path) -> Result<UnixListener> {
    socket::listen(dir, SHARE_SOCKET)
}

/// The machine takes longer to start, so this comes behind it. With the server comes the socket for what the host changes.
fn start_share(
    plan: &Plan,
    launch: &Qemu,
    listener: Option<&UnixListener>,
    dir: &Path,
) -> Result<(Option<Running>, Option<UnixStream>)> {
    let (Some(program), Some(listener)) = (&launch.share, listener) else { return Ok((None, None)) };
    let what = || "cannot offer the share";
    let (events, far) = UnixStream::pair().what(what)?;
    let handles = Handles { share: Some(listener.as_fd()), events: Some(far.as_fd()), ..Handles::of(dir) };
    let (read, mut write) = std::io::pipe().what(what)?;
    let server = child::start(program, &handles, "share.log", Stdio::from(read))?;
    let mut numbers = FIRST_FD + 1..;
    let dirs: Vec<i32> = numbers.by_ref().take(plan.mounts.len()).collect();
    let events_there = numbers.next().unwrap_or_default();
    let config = crate::share::Config::new(plan, &dirs, FIRST_FD, events_there, std::process::id())?;
    // In one piece: a writer to a pipe would be called for every letter.
    write.write_all(&serde_json::to_vec(&config).what(what)?).what(what)?;
    Ok((Some(server), plan.watch.enabled.then_some(events)))
}
