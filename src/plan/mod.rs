//! What one run will see, execute and be allowed: data only, building it starts nothing.

pub mod approval;
pub mod auth;
mod doors;
pub mod env;
pub mod folded;
pub mod limits;
mod locale;
pub mod mounts;
pub mod network;
pub mod ports;
pub mod protect;
pub mod request;
pub mod room;
pub mod state;
pub mod volumes;

use crate::host::Host;
use crate::screen::Clipboard;
use crate::settings::Settings;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use limits::Limits;
pub use network::Network;
pub use protect::Protected;
pub use state::State;
pub use volumes::Local;

/// One run. `--dry-run` prints it, an engine turns it into processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The command in the guest and its arguments, byte for byte.
    pub argv: Vec<OsString>,
    /// The directory that the command starts in, in the guest.
    pub cwd: PathBuf,
    /// What of the host the guest sees. The first is the project.
    pub mounts: Vec<Mount>,
    /// What of that the guest cannot change, whatever it is there.
    pub protected: Vec<Protected>,
    /// What of the project is on a disk of the guest's own.
    pub local: Option<volumes::Local>,
    /// Whether watchers in the guest hear of changes on the host.
    pub watch: Watch,
    /// Links in the guest, so that host paths in arguments and messages work: (where, to what).
    pub links: Vec<(PathBuf, PathBuf)>,
    /// The environment of the command. Values are secret: only names are ever printed.
    pub env: Vec<(OsString, OsString)>,
    /// Who the command runs as in the guest.
    pub user: User,
    /// Processors and memory.
    pub limits: Limits,
    /// What may be reached.
    pub network: Network,
    /// What the guest's output may do with the host's clipboard.
    pub clipboard: Clipboard,
    /// What the guest sets up before the command.
    pub setup: Setup,
    /// Ports here that lead into the guest.
    pub ports: Vec<ports::Forward>,
}

impl Plan {
    /// The file of the project's volume, where it has one that no other session has.
    pub fn volume(&self) -> Option<&Path> {
        self.local.as_ref()?.volume.as_deref()
    }

    /// The directory of the guest's own that hides the one in which the command starts, from the project's root.
    pub fn hidden_by(&self) -> Option<&Path> {
        let rest = self.cwd.strip_prefix(mounts::WORKSPACE).ok()?;
        self.local.as_ref()?.dirs.iter().map(PathBuf::as_path).find(|dir| rest.starts_with(dir))
    }
}

/// Files and directories of the guest that are not the host's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    /// Files of its system, written anew for every run: (where, what).
    pub system: Vec<(PathBuf, Vec<u8>)>,
    /// Files of the user's that are made where nothing is: (where, what).
    pub seeds: Vec<(PathBuf, Vec<u8>)>,
    /// A key that Claude Code need not ask about: its file, and the end of the key.
    pub approve: Option<(PathBuf, String)>,
    /// Directories of the user's that vanish with the machine.
    pub own: Vec<PathBuf>,
    /// The API to which this host adds the key, on a port of the guest's; `None`: the guest has the key, or there is none.
    pub api: Option<auth::Api>,
    /// The user's ssh agent here, for the guest to use.
    pub agent: Option<PathBuf>,
}

/// A directory on the host, and the place in it where the command starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory at `/workspace`: canonical.
    pub root: PathBuf,
    /// From there to the current directory.
    pub rest: PathBuf,
    /// What the directory was when it was decided upon.
    pub identity: Option<Identity>,
    /// What the project keeps, on the host.
    pub state: State,
    /// What of Git's it holds.
    pub git: Vec<protect::Git>,
}

impl Plan {
    /// The plan for `argv` at `place`, with this network and what the guest sets up.
    pub fn new(
        host: &Host,
        settings: &Settings,
        place: &Place,
        argv: Vec<OsString>,
        network: Network,
        setup: Setup,
    ) -> Plan {
        // Claude Code refuses some of its modes to root, and nothing in a guest needs the host's root.
        let user = if host.uid == 0 { User { uid: 1000, gid: 1000 } } else { User { uid: host.uid, gid: host.gid } };
        let mounts = mounts::of(place, settings);
        Plan {
            argv,
            // By components, because joining nothing would leave a slash at the end.
            cwd: Path::new(mounts::WORKSPACE).components().chain(place.rest.components()).collect(),
            protected: mounts.first().map_or(Vec::new(), |m| protect::of(&settings.protect, &place.git, &m.tag)),
            mounts,
            local: None,
            watch: settings.watch.clone(),
            links: mounts::links(&place.root),
            env: env::guest(host, settings, network.mode, &setup),
            user,
            limits: settings.limits,
            network,
            setup,
            ports: settings.ports.clone(),
            clipboard: settings.clipboard,
        }
    }
}

/// A directory of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the host: canonical.
    pub host: PathBuf,
    /// Where it is in the guest: absolute.
    pub guest: PathBuf,
    /// The name under which the share serves it (one path component).
    pub tag: String,
    /// Whether the guest may write.
    pub writable: bool,
    /// Whether the guest asks again every time: another machine may change the same files.
    pub coherent: bool,
    /// The directory that was decided upon, for as long as only its path is known; `None`: whatever is there.
    pub identity: Option<Identity>,
}

/// What a directory is, whatever its path says: file system and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// How the guest hears of changes that the host makes to files that it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Whether it does.
    pub enabled: bool,
    /// Directories of which it does not, besides those that Git ignores; lines as in a `.gitignore`.
    pub ignore: Vec<String>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { enabled: true, ignore: Vec::new() }
    }
}

/// The guest's user; the host's own ids where those are not root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id in the guest.
    pub uid: u32,
    /// Group id in the guest.
    pub gid: u32,
}
