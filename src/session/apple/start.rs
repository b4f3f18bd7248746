//! From the words to a connected supervisor.

use super::super::child::{self, Handles, Running};
use super::super::converse;
use super::super::machine::Machine;
use super::call::Asked;
use super::{ending, place};
use crate::engine::apple::{self, Container, SOCKET, Wire as Way};
use crate::error::{Context, Failure, Result};
use crate::plan::Plan;
use crate::profile;
use std::io::PipeWriter;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::join;
use tokio::net::{UnixStream, unix::pipe};
use vmclaude_init::wire::mux::Wire;

/// How long a container may take from its start until its supervisor connects. The service boots one machine at a time.
const CONNECT: Duration = Duration::from_secs(60);
/// What the client says.
const LOG: &str = "container.log";
/// How often a client is looked at while its supervisor has not connected.
const LOOK: Duration = Duration::from_millis(20);

/// The client of a container. Dropped, the container is gone.
pub(in crate::session) struct Client {
    pub(super) running: Running,
    /// The sign of life: while it is open, the supervisor knows that we are there. `None`: the wire is that sign.
    pub(super) life: Option<PipeWriter>,
    pub(super) name: String,
    pub(super) id: String,
    pub(super) asked: Asked,
    pub(super) owner: String,
    /// The session's directory, kept when the container could not be removed.
    pub(super) dir: PathBuf,
    /// Whether its machine has the project's volume.
    pub(super) has_volume: bool,
    /// Whether the conversation came to its proper end.
    pub(super) farewell: bool,
}

/// Starts the container and connects to its supervisor. `slot` holds whatever runs.
pub(in crate::session) async fn start(
    plan: &Plan,
    container: &Container,
    dir: &Path,
    slot: &mut Option<Machine>,
) -> Result<Wire> {
    let place = place::of(dir);
    let run = apple::run(container, plan, &place)?;
    unchanged(plan)?;
    // From here on a crash leaves something to find.
    ending::remember(dir, container, &run.name)?;
    place::make(&place, dir)?;
    for (link, to) in &run.links {
        symlink(to, link).what(|| format!("cannot make a link to {}", to.display()))?;
    }
    let listener = (container.wire == Way::Socket).then(|| listen(&place.dir)).transpose()?;
    let what = || "cannot make the wire";
    let (stdin, life) = std::io::pipe().what(what)?;
    let (heard, stdout) = match container.wire {
        Way::Socket => (None, None),
        Way::Stdio => std::io::pipe().map(|(heard, stdout)| (Some(heard), Some(stdout))).what(what)?,
    };
    let streams = (Stdio::from(stdin), stdout.map(Stdio::from));
    let running = child::start_free(&run.program, &Handles::of(dir), LOG, streams)?;
    profile::mark("container is started");
    let (life, spoken) = if listener.is_some() { (Some(life), None) } else { (None, Some(life)) };
    *slot = Some(Machine::Apple(Client {
        running,
        life,
        name: run.name,
        id: place.id,
        asked: container.into(),
        owner: container.owner.clone(),
        dir: dir.to_path_buf(),
        has_volume: plan.volume().is_some(),
        farewell: false,
    }));
    match (listener, spoken, heard) {
        (Some(listener), ..) => {
            let stream = tokio::select! {
                stream = accept(listener, &place.dir) => stream?,
                () = watch(slot) => return Err(not_started(plan, dir, slot)),
            };
            converse::connect(stream).await
        }
        (None, Some(to), Some(from)) => {
            let from = pipe::Receiver::from_owned_fd(from.into()).what(what)?;
            let io = join(from, pipe::Sender::from_owned_fd(to.into()).what(what)?);
            tokio::select! {
                wire = converse::connect(io) => wire,
                () = watch(slot) => Err(not_started(plan, dir, slot)),
            }
        }
        _ => Err(converse::lost("it has no wire")),
    }
}

/// The directories are still those that were decided upon. Only their paths can be passed on, so this is checked, and not
/// held, up to the moment in which the system opens them.
fn unchanged(plan: &Plan) -> Result<()> {
    for mount in &plan.mounts {
        child::directory(&mount.host, mount.identity)?;
    }
    Ok(())
}

/// The socket; only we can connect to it, and in the guest only its root.
fn listen(dir: &Path) -> Result<UnixListener> {
    let what = || "cannot offer the wire";
    let path = dir.join(SOCKET);
    let listener = UnixListener::bind(&path).what(what)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).what(what)?;
    Ok(listener)
}

/// The first connection is the supervisor's: nothing else runs in the guest yet. There is no second.
async fn accept(listener: UnixListener, dir: &Path) -> Result<UnixStream> {
    let what = || "cannot offer the wire";
    listener.set_nonblocking(true).what(what)?;
    let listener = tokio::net::UnixListener::from_std(listener).what(what)?;
    let accepted = tokio::time::timeout(CONNECT, listener.accept()).await;
    let _ = std::fs::remove_file(dir.join(SOCKET));
    let seconds = CONNECT.as_secs();
    let late = |_| converse::lost(format!("its supervisor did not connect within {seconds} s")).next("container list");
    Ok(accepted.map_err(late)?.what(what)?.0)
}

/// Comes back when the client has ended before its supervisor connected.
async fn watch(slot: &mut Option<Machine>) {
    while slot.as_mut().and_then(Machine::gone).is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Why, as far as its log tells: the system mounts the volume before anything of ours runs.
fn not_started(plan: &Plan, dir: &Path, slot: &mut Option<Machine>) -> Failure {
    let log = std::fs::read(dir.join(LOG)).unwrap_or_default();
    if plan.volume().is_some() && String::from_utf8_lossy(&log).contains(apple::volumes::GUEST) {
        return converse::no_volume(plan, "Apple's container cannot mount it");
    }
    let why = slot.as_mut().and_then(Machine::gone).unwrap_or_default();
    Failure::new("the virtual machine could not be started").because(why)
}
