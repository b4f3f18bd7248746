//! The user's settings: `config.toml` on the host, and three environment variables above it.

mod file;

use crate::error::{Failure, Result};
use crate::files::{self, quoted};
use crate::host::Host;
use crate::plan::approval::Extra;
use crate::plan::auth::Auth;
use crate::plan::limits::Limits;
use crate::plan::network;
use crate::plan::ports::Forward;
use crate::plan::protect;
use crate::plan::state::Home;
use crate::plan::volumes::{Dir, Volumes};
use crate::screen::Clipboard;
use file::File;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the user says of one project, by its path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OfProject {
    home: Option<Home>,
    auth: Option<Auth>,
    ssh_agent: bool,
    volumes: Option<Vec<Dir>>,
    /// The path as it is written in the file; what it leads to is what the settings are found by.
    #[serde(skip)]
    pub typed: PathBuf,
}

/// What runs VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// QEMU.
    Qemu,
    /// Apple's `container`.
    Apple,
}

/// How the wire reaches a container of Apple's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// A socket that the system relays.
    #[default]
    Socket,
    /// The container's stdin and stdout. The system writes what a container says to disk: traffic of the wire included.
    Stdio,
}

impl Engine {
    /// The one that this system has.
    const OWN: Engine = if cfg!(target_os = "macos") { Engine::Apple } else { Engine::Qemu };
}

/// Settings with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Processors and memory of a VM.
    pub limits: Limits,
    /// What runs VMs.
    pub engine: Engine,
    /// QEMU's program file, where it is not in the usual places.
    pub qemu: Option<PathBuf>,
    /// Apple's `container`, where it is not in the usual places.
    pub container: Option<PathBuf>,
    /// How the wire reaches a container.
    pub wire: Wire,
    /// Whether machines are copied from templates, and templates made.
    pub warm_start: bool,
    /// Whether the guest's user may become its root.
    pub sudo: bool,
    /// Whose the guest's home is.
    pub home: Home,
    /// Who holds the key.
    pub auth: Auth,
    /// Whether the guest may use the user's ssh agent.
    pub ssh_agent: bool,
    /// What the user says of single projects, by the directories that their paths lead to.
    pub projects: BTreeMap<PathBuf, OfProject>,
    /// What guests may do with the host's clipboard.
    pub clipboard: Clipboard,
    /// Debian packages to add to the image.
    pub packages: Vec<String>,
    /// What every VM may reach.
    pub network: network::Network,
    /// Ports of this machine that lead into every VM.
    pub ports: Vec<Forward>,
    /// Names of environment variables to pass to the guest besides the usual ones.
    pub env: Vec<String>,
    /// Never more processors than these, whatever suits the accelerator.
    pub most_cpus: Option<u32>,
    /// Directories of the host besides the project and the guest's home.
    pub mounts: Vec<Extra>,
    /// What of a project the guest cannot change.
    pub protect: protect::Protect,
    /// How the guest hears of changes on the host.
    pub watch: crate::plan::Watch,
    /// What of a project is on the guest's own disk.
    pub volumes: Volumes,
}

/// Reads the settings of this host and its environment.
///
/// # Errors
/// When the file cannot be read or says something that makes no sense (exit 64).
pub fn load(host: &Host) -> Result<Settings> {
    let path = host.dirs.config_file();
    let bad = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot use {}", path.display()))
            .because(why)
            .next(format!("${{EDITOR:-vi}} {}", quoted(&path)))
    };
    let text = match files::read(&path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(e)) => return Err(bad(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(bad(&e)),
    };
    let file: File = toml::from_str(&text).map_err(|e| bad(&e.to_string().trim_end().replace('\n', "\n    ")))?;
    file.resolve(host, &|failure| {
        let why = failure.because.iter().fold(failure.what, |all, why| format!("{all}: {why}"));
        bad(&why)
    })
}

impl Settings {
    /// Of the host's processors, how many a VM may have.
    pub fn cores(&self, host: &Host) -> u32 {
        host.cores.min(self.most_cpus.unwrap_or(u32::MAX))
    }

    /// These settings with what the user says of the project in this directory; of one that was moved, else what they say
    /// of the path that it had.
    #[must_use]
    pub fn of_project(mut self, root: &Path, moved_from: Option<&Path>) -> Settings {
        let own = [Some(root), moved_from].into_iter().flatten().find_map(|path| self.projects.get(path));
        let own = own.cloned().unwrap_or_default();
        self.home = own.home.unwrap_or(self.home);
        self.auth = own.auth.unwrap_or(self.auth);
        self.ssh_agent = own.ssh_agent;
        self.volumes.local = own.volumes.unwrap_or(self.volumes.local);
        self
    }
}

#[cfg(test)]
pub(crate) mod tests;
