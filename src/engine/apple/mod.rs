//! Apple's `container` on macOS: the command lines, and what its answers mean. Data only.
//!
//! As little of it as possible is relied upon: a container is started with plain pipes, never with a terminal, and no value of
//! the environment; the one socket that it is given is the wire.

pub mod answers;
pub mod calls;
pub mod mounts;
pub mod version;
pub mod volumes;

use crate::engine::launch::Program;
use crate::error::Result;
use crate::plan::{Plan, Protected};
pub use crate::settings::Wire;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use version::Version;

/// Where the wire's socket is in the guest. The supervisor connects to it.
pub const GUEST_SOCKET: &str = "/run/vmclaude/wire.sock";
/// The wire's socket in a session's directory.
pub const SOCKET: &str = "wire.sock";
/// The word that tells the supervisor that its wire is its stdin and stdout.
pub const STDIO: &str = "stdio";
/// The label that says which session a container belongs to.
pub const RUN_LABEL: &str = "vmclaude.run";
/// The label that says whose sessions these are: a digest of the state directory.
pub const STATE_LABEL: &str = "vmclaude.state";

/// What a guest's root can do without: it makes no devices, sends no raw packets and changes no root.
const DROPPED: [&str; 3] = ["MKNOD", "NET_RAW", "SYS_CHROOT"];
/// What the supervisor needs to catch the guest's connections; without, the proxies are the guest's only way out. And to set
/// the clock as soon as the host wakes up: the system does so every 30 seconds.
const ADDED: [&str; 3] = ["NET_ADMIN", "BPF", "SYS_TIME"];
/// And what it needs to bind the directories of [`Local`](crate::plan::Local). It takes that from every command, so that a
/// guest's root has it as little as without.
const BINDS: &str = "SYS_ADMIN";

/// Everything about this host that the command line depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The program file of `container`.
    pub program: PathBuf,
    /// Its version.
    pub version: Version,
    /// The image.
    pub image: String,
    /// Processors of the host.
    pub cores: u32,
    /// How the wire reaches the guest.
    pub wire: Wire,
    /// Whether the guest's connections can be caught: not where that was tried and failed.
    pub caught: bool,
    /// The environment of every call: see [`calls::environment`].
    pub env: Vec<(OsString, OsString)>,
    /// The value of [`STATE_LABEL`].
    pub owner: String,
}

/// The session that a container is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name: letters and digits.
    pub id: String,
    /// A private directory of its own whose path can be an argument: see [`mounts::is_plain`].
    pub dir: PathBuf,
}

/// One container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `container run …`.
    pub program: Program,
    /// The container's name.
    pub name: String,
    /// Links that must be there first: (where, to what). They spell directories whose own path cannot be spelt.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// The container for `plan`.
///
/// # Errors
/// When one directory would have to be writable and read-only at once.
pub fn run(container: &Container, plan: &Plan, place: &Place) -> Result<Run> {
    let name = name(&place.id);
    let memory = format!("{}M", plan.limits.memory);
    let cpus = plan.limits.cpus_for(false, container.cores).to_string();
    let mut args: Vec<OsString> = Vec::new();
    let mut arg = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    arg(&["run", "-i", "--rm", "--name", &name, "-m", &memory, "-c", &cpus]);
    arg(&["--label", &format!("{RUN_LABEL}={}", place.id), "--label", &format!("{STATE_LABEL}={}", container.owner)]);
    // No way out but the wire, and nothing said on stderr but errors.
    arg(&["--network", "none", "--progress", "none"]);
    DROPPED.iter().for_each(|cap| arg(&["--cap-drop", cap]));
    if container.caught {
        ADDED.iter().for_each(|cap| arg(&["--cap-add", cap]));
    }
    if plan.local.is_some() {
        arg(&["--cap-add", BINDS]);
    }
    let mounts = mounts::spell(&plan.mounts, &place.dir)?;
    args.extend(mounts.args);
    for dir in &plan.setup.own {
        args.extend(["--tmpfs".into(), dir.clone().into()]);
    }
    if let Some(lock) = plan.volume() {
        args.extend(volumes::words(&volumes::name_of(&container.owner, lock)));
    }
    args.extend(read_only(container, plan));
    if container.wire == Wire::Socket {
        let mut relay = place.dir.join(SOCKET).into_os_string();
        relay.push(":");
        relay.push(GUEST_SOCKET);
        args.extend(["-v".into(), relay]);
    }
    args.extend(["--".into(), container.image.clone().into()]);
    if container.wire == Wire::Stdio {
        args.push(STDIO.into());
    }
    let program = Program { path: container.program.clone(), args, fds: Vec::new(), env: container.env.clone() };
    Ok(Run { program, name, links: mounts.links })
}

/// What the guest's root could still undo, and older versions do not know: the host looks at these paths afterwards.
fn read_only(container: &Container, plan: &Plan) -> Vec<OsString> {
    let within = |path: &Protected| plan.mounts.iter().find(|m| m.tag == path.tag).map(|m| m.guest.join(&path.path));
    let paths = plan.protected.iter().filter(|_| container.version >= version::SOUND).filter_map(within);
    paths.flat_map(|path| ["--read-only-path".into(), path.into_os_string()]).collect()
}

/// The name of a session's container: within Apple's rules (63 of letters, digits, `_.-`).
pub fn name(id: &str) -> String {
    format!("vmclaude-{id}")
}

/// What tells our containers from those of another installation or another home.
pub fn owner(state: &Path) -> String {
    let digest = Sha256::digest(state.as_os_str().as_encoded_bytes());
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
