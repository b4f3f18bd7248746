//! `.vmclaude.toml`: what a project may say about its own VM. Whoever wrote the project wrote it, so it can only ever
//! tighten by itself (`[limit]`); what it wants beyond the user's settings (`[request]`) is words until a person approves.

mod packages;
mod variables;

use super::limits::{parse_cpus, parse_memory};
use super::network::{Listed, Mode, name};
use super::ports::Forward;
use super::protect;
use super::volumes::Dir;
use crate::error::{Failure, Result};
use crate::screen::Clipboard;
pub use packages::is_package;
use serde::Deserialize;
use std::path::{Component, Path};

/// The file's name, in the root of the project.
pub const FILE: &str = ".vmclaude.toml";
/// Far more than anybody writes by hand.
pub const LARGEST: u64 = 64 << 10;
/// More than anybody reads before they say yes.
const MOST_WISHES: usize = 64;
/// Of these, the most mounts: together they fit on one screen, above the question.
const MOST_MOUNTS: usize = 16;
/// The longest path of a wish, in bytes.
const LONGEST: usize = 255;

/// The file as it is written. Unknown keys are an error: a mistyped limit must not become no limit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    limit: LimitText,
    request: RequestText,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitText {
    cpus: Option<u32>,
    memory: Option<String>,
    network: Option<Mode>,
    allow: Option<Vec<String>>,
    protect: Option<protect::Level>,
    clipboard: Option<Clipboard>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RequestText {
    mounts: Vec<Asked>,
    env: Vec<String>,
    packages: Vec<String>,
    network: Vec<String>,
    ports: Vec<String>,
    volumes: Vec<Dir>,
}

/// What a project understands as enough for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limit {
    /// At most so many processors.
    pub cpus: Option<u32>,
    /// At most so much memory, in MiB.
    pub memory: Option<u64>,
    /// At most this network.
    pub network: Option<Mode>,
    /// Of the network, no more than these names.
    pub allow: Option<Vec<Listed>>,
    /// At least so much is protected.
    pub protect: Option<protect::Level>,
    /// What the guest's output may do with the host's clipboard, at most.
    pub clipboard: Option<Clipboard>,
}

/// What a project wants and does not get before it is approved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Directories of the host.
    pub mounts: Vec<Asked>,
    /// Variables of the host's environment, by name.
    pub env: Vec<String>,
    /// Debian packages in the image.
    pub packages: Vec<String>,
    /// Names for the list of what may be reached.
    pub network: Vec<Listed>,
    /// Ports of this machine's loopback that lead into the guest.
    pub ports: Vec<Forward>,
    /// Directories of the project that are on a disk of the guest's own.
    pub volumes: Vec<Dir>,
}

/// A directory of the host as the project names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Where it is on the host; `~` and `${PROJECT}` at the beginning are understood.
    pub host: String,
    /// Where it shall be in the guest.
    pub guest: String,
    /// Whether the guest may write.
    #[serde(default)]
    pub writable: bool,
}

/// The whole file, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wishes {
    /// Applies at once.
    pub limit: Limit,
    /// Waits for approval.
    pub request: Request,
}

impl Request {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Request::default()
    }
}

/// Understands the bytes of the file.
///
/// # Errors
/// Exit 78: it is not what it should be, or asks for what no project may have. Then nothing of it counts, and nothing
/// runs: half of a policy is none.
pub fn parse(bytes: &[u8]) -> Result<Wishes> {
    let text = std::str::from_utf8(bytes).map_err(bad)?;
    if text.starts_with('\u{feff}') || text.contains('\0') {
        return Err(bad("there is a byte-order mark or a zero byte in it"));
    }
    let file: File = toml::from_str(text).map_err(|e| bad(e.to_string().trim_end()))?;
    let listed = |names: &[String]| names.iter().map(|n| n.parse().map_err(inside)).collect::<Result<Vec<_>>>();
    let limit = Limit {
        cpus: file.limit.cpus.map(|n| parse_cpus("cpus", &n.to_string())).transpose().map_err(inside)?,
        memory: file.limit.memory.map(|text| parse_memory("memory", &text)).transpose().map_err(inside)?,
        network: file.limit.network,
        allow: file.limit.allow.map(|names| listed(&names)).transpose()?,
        protect: file.limit.protect,
        clipboard: file.limit.clipboard,
    };
    let asked = file.request;
    readable(&asked)?;
    asked.mounts.iter().try_for_each(mount)?;
    asked.env.iter().try_for_each(|name| variables::check(name))?;
    asked.packages.iter().try_for_each(|name| packages::check(name))?;
    let network = asked.network.iter().map(|name| host(name)).collect::<Result<_>>()?;
    let ports = asked.ports.iter().map(|port| high(port)).collect::<Result<_>>()?;
    let RequestText { mounts, env, packages, volumes, .. } = asked;
    let request = Request { mounts, env, packages, network, ports, volumes };
    Ok(Wishes { limit, request })
}

/// The failure of a file that cannot be used.
pub fn bad(why: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("cannot use {FILE} of this project"))
        .because(why)
        .next(format!("${{EDITOR:-vi}} {FILE}   # in the root of the project"))
}

fn inside(failure: Failure) -> Failure {
    let why = failure.because.first().map_or_else(String::new, |why| format!(": {why}"));
    bad(format!("{}{why}", failure.what))
}

fn never(what: &str, why: &str) -> Failure {
    bad(format!("no project may ask for {what}: {why}"))
}

/// Whether a person can be asked for all this at once.
fn readable(asked: &RequestText) -> Result<()> {
    let names = [&asked.env, &asked.packages, &asked.network, &asked.ports].map(Vec::len);
    let (mounts, all) = (asked.mounts.len(), asked.mounts.len() + asked.volumes.len() + names.iter().sum::<usize>());
    match (mounts > MOST_MOUNTS, all > MOST_WISHES) {
        (true, _) => Err(bad(format!("it requests {mounts} mounts, and {MOST_MOUNTS} are the most"))),
        (_, true) => Err(bad(format!("it requests {all} things, and {MOST_WISHES} are the most that anybody reads"))),
        _ => Ok(()),
    }
}

/// A name for the list: never an address, because addresses of this machine and its networks are the user's to give.
fn host(text: &str) -> Result<Listed> {
    let listed: Listed = text.parse().map_err(inside)?;
    let bare = text.rsplit_once(':').map_or(text, |(host, _)| host);
    let label = bare.strip_prefix("*.").unwrap_or(bare);
    let local =
        |n: &str| n == "localhost" || [".localhost", ".local", ".internal", ".lan"].iter().any(|e| n.ends_with(e));
    match name(label) {
        Some(name) if local(&name) || !name.contains('.') => {
            Err(never(text, "it names this machine or its network; `allow_local` in your own config.toml can"))
        }
        Some(_) => Ok(listed),
        None => Err(never(text, "only names can be asked for, no addresses")),
    }
}

/// A port, and none of those that only the system's own services have.
fn high(text: &str) -> Result<Forward> {
    let forward: Forward = text.parse().map_err(inside)?;
    match forward.host < 1024 {
        true => Err(never(&format!("port {}", forward.host), "ports below 1024 are the system's")),
        false => Ok(forward),
    }
}

/// Where a mount may not be in the guest: system directories, and those that mean something already.
const TAKEN: [&str; 16] = [
    "/workspace",
    "/home",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/etc",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/boot",
    "/root",
    "/opt/claude",
    "/var",
];

fn mount(asked: &Asked) -> Result<()> {
    let guest = Path::new(&asked.guest);
    let plain = guest.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let same = guest.components().collect::<std::path::PathBuf>().as_os_str() == guest.as_os_str();
    // It is shown before the question, and must not look like other words of that.
    let letters = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if !guest.is_absolute() || !plain || !same || !asked.guest.chars().all(letters) || asked.guest.len() > LONGEST {
        let letters = "letters, digits and ._- of ASCII";
        return Err(bad(format!("{:?} is no plain absolute path of {letters}, such as /mnt/data", asked.guest)));
    }
    if TAKEN.iter().any(|t| guest.starts_with(t) || Path::new(t).starts_with(guest)) {
        return Err(never(&format!("a mount at {}", asked.guest), "that place is the guest's own; /mnt/NAME is free"));
    }
    let host = &asked.host;
    let rooted = host.starts_with('/') || host.starts_with("~/") || host.starts_with("${PROJECT}/");
    let odd = host.chars().any(char::is_control) || host.trim_start_matches("${PROJECT}").contains("${");
    match rooted && !odd && host.len() <= LONGEST {
        true => Ok(()),
        false => Err(bad(format!(
            "{host:?} is no absolute path or one below ~/ or ${{PROJECT}}/, of {LONGEST} bytes at most"
        ))),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
