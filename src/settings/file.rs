//! `config.toml` as it is written, and what it means.

use super::{Engine, OfProject, Settings, Wire};
use crate::error::{Failure, Result};
use crate::files;
use crate::host::Host;
use crate::plan::auth::Auth;
use crate::plan::limits::{Limits, parse_cpus, parse_memory};
use crate::plan::network::{self, Mode};
use crate::plan::ports::Forward;
use crate::plan::protect;
use crate::plan::state::Home;
use crate::plan::volumes::Volumes;
use crate::screen::Clipboard;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The file as it is written. Unknown keys are an error: a mistyped limit must not become no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    memory: Option<String>,
    cpus: Option<u32>,
    engine: Option<Engine>,
    qemu: Option<PathBuf>,
    container: Option<PathBuf>,
    wire: Wire,
    warm_start: Option<bool>,
    sudo: bool,
    home: Home,
    auth: Auth,
    projects: BTreeMap<PathBuf, OfProject>,
    clipboard: Clipboard,
    image: Image,
    network: Network,
    ports: Ports,
    env: Env,
    protect: Protect,
    watch: Watch,
    volumes: Volumes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Image {
    packages: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    mode: Mode,
    allow: Vec<String>,
    allow_local: Vec<String>,
    allow_hosts: Vec<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ports {
    forward: Vec<Port>,
}

/// `5173` or `"8080:80"`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u16),
    Text(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Env {
    pass: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Protect {
    level: protect::Level,
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Watch {
    enabled: bool,
    ignore: Vec<String>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch { enabled: true, ignore: Vec::new() }
    }
}

impl File {
    /// The settings that it means on this host. `wrong` makes a failure of the file of one that a value is; what the environment
    /// says is no fault of the file's.
    pub(super) fn resolve(self, host: &Host, wrong: &dyn Fn(Failure) -> Failure) -> Result<Settings> {
        self.sound().map_err(wrong)?;
        Ok(Settings {
            limits: self.limits(host, wrong)?,
            engine: self.engine.unwrap_or(Engine::OWN),
            qemu: self.qemu,
            container: self.container,
            wire: self.wire,
            warm_start: match said(host, "VMCLAUDE_WARM_START") {
                Some(text) => text != "0",
                None => self.warm_start.unwrap_or(true),
            },
            sudo: self.sudo,
            home: self.home,
            auth: self.auth,
            ssh_agent: false,
            projects: by_directory(self.projects).map_err(wrong)?,
            clipboard: self.clipboard,
            packages: self.image.packages,
            network: self.network.understood().map_err(wrong)?,
            ports: self.ports.forward.iter().map(Port::understood).collect::<Result<_>>().map_err(wrong)?,
            env: self.env.pass,
            most_cpus: None,
            mounts: Vec::new(),
            protect: self.protect.understood().map_err(wrong)?,
            watch: crate::plan::Watch { enabled: self.watch.enabled, ignore: self.watch.ignore },
            volumes: self.volumes,
        })
    }

    /// Processors and memory, over which the environment has the last word.
    fn limits(&self, host: &Host, wrong: &dyn Fn(Failure) -> Failure) -> Result<Limits> {
        let mut limits = Limits::default_for(host.memory);
        if let Some(text) = &self.memory {
            limits.memory = parse_memory("memory", text).map_err(wrong)?;
        }
        if let Some(cpus) = self.cpus {
            limits.cpus = Some(parse_cpus("cpus", &cpus.to_string()).map_err(wrong)?);
        }
        if let Some(text) = said(host, "VMCLAUDE_MEMORY") {
            limits.memory = parse_memory("VMCLAUDE_MEMORY", &text)?;
        }
        if let Some(text) = said(host, "VMCLAUDE_CPUS") {
            limits.cpus = Some(parse_cpus("VMCLAUDE_CPUS", &text)?);
        }
        Ok(limits)
    }

    /// Whether everything can mean something: a value that never would is as bad as a mistyped key.
    fn sound(&self) -> Result<()> {
        let odd =
            |name: &&String| name.is_empty() || name.contains(|c: char| c == '=' || c == '\0' || c.is_whitespace());
        if let Some(name) = self.env.pass.iter().find(odd) {
            return Err(Failure::usage(format!("{name:?} in [env] pass is not the name of a variable")));
        }
        if let Some(path) = self.projects.keys().find(|path| !path.is_absolute()) {
            return Err(Failure::usage(format!("[projects.{path:?}] is not an absolute path")));
        }
        if let Some(addr) = self.network.allow_hosts.iter().find(|addr| addr.port() == 0) {
            return Err(Failure::usage(format!("{addr} in allow_hosts is no address with a port")));
        }
        self.absolute()
    }

    /// Whether programs are named by absolute paths.
    fn absolute(&self) -> Result<()> {
        for (name, path, example) in [
            ("qemu", &self.qemu, "/usr/bin/qemu-system-x86_64"),
            ("container", &self.container, "/usr/local/bin/container"),
        ] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                return Err(Failure::usage(format!("{name} is not an absolute path: {}", path.display()))
                    .because("what runs must not depend on the current directory or on PATH")
                    .next(format!("{name} = \"{example}\"")));
            }
        }
        Ok(())
    }
}

/// By the directories that the paths lead to, because a project is looked up by its own: a link on the way must not undo
/// what is said of it.
fn by_directory(typed: BTreeMap<PathBuf, OfProject>) -> Result<BTreeMap<PathBuf, OfProject>> {
    let mut all = BTreeMap::new();
    for (path, own) in typed {
        let dir = files::real(&path);
        let double = |other: OfProject| {
            Failure::usage(format!("[projects.{path:?}] and [projects.{:?}] are one directory", other.typed))
                .because(dir.display())
        };
        all.insert(dir.clone(), OfProject { typed: path.clone(), ..own }).map_or(Ok(()), |other| Err(double(other)))?;
    }
    Ok(all)
}

/// What the environment says. What is no text is no value either, and is told as such.
fn said<'a>(host: &'a Host, name: &str) -> Option<Cow<'a, str>> {
    host.env.get(OsStr::new(name)).map(|value| value.to_string_lossy())
}

impl Port {
    fn understood(&self) -> Result<Forward> {
        match self {
            Port::Number(number) => number.to_string().parse(),
            Port::Text(text) => text.parse(),
        }
    }
}

impl Network {
    fn understood(self) -> Result<network::Network> {
        Ok(network::Network {
            mode: self.mode,
            allow: self.allow.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            allow_local: self.allow_local.iter().map(|text| text.parse()).collect::<Result<_>>()?,
            allow_hosts: self.allow_hosts,
        })
    }
}

impl Protect {
    fn understood(self) -> Result<protect::Protect> {
        let below = |text: &String| {
            protect::below(text).ok_or_else(|| {
                Failure::usage(format!("cannot protect {text:?}"))
                    .because("it is no path below the project's root")
                    .next("[protect] paths = [\"deploy.sh\", \"ci/\"]")
            })
        };
        Ok(protect::Protect { level: self.level, paths: self.paths.iter().map(below).collect::<Result<_>>()? })
    }
}
