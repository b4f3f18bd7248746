//! `.vmclaude.toml`: what a project may say about its own VM. Whoever wrote the project wrote it, so it can only ever
//! tighten by itself (`[limit]`); what it wants beyond the user's settings (`[request]`) is words until a person approves.

use super::limits::{parse_cpus, parse_memory};
use super::network::{Listed, Mode, name};
use super::ports::Forward;
use super::protect;
use super::volumes::Dir;
use crate::error::{Failure, Result};
use crate::screen::Clipboard;
use serde::Deserialize;
use std::path::{Component, Path};

/// The file's name, in the root of the project.
pub const FILE: &str = ".vmclaude.toml";
/// Far more than anybody writes by hand.
pub const LARGEST: u64 = 64 << 10;

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
    asked.mounts.iter().try_for_each(mount)?;
    asked.env.iter().try_for_each(|name| variable(name))?;
    asked.packages.iter().try_for_each(|name| package(name))?;
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

/// Variables that make programs run other code, lead to an agent of the user's, or hold a key by their name.
const VARIABLES: [&str; 31] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "ENV",
    "BASH_ENV",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "TMUX",
    "BROWSER",
    "DOCKER_HOST",
    "KUBECONFIG",
    "NODE_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PERL5OPT",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
];
const FAMILIES: [&str; 10] =
    ["LD_", "DYLD_", "VMCLAUDE_", "AWS_", "AZURE_", "GOOGLE_", "GIT_", "ANTHROPIC_", "CLAUDE_", "BASH_FUNC_"];
const ENDINGS: [&str; 9] = ["_TOKEN", "_KEY", "_PROXY", "_PAT", "_PASS", "_PWD", "_AUTH", "_COOKIE", "_SESSION"];
const PARTS: [&str; 6] = ["SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "APIKEY"];

fn variable(name: &str) -> Result<()> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letters) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad(format!("{name:?} in env is not the name of one variable")));
    }
    let upper = name.to_ascii_uppercase();
    let held = VARIABLES.contains(&&*upper)
        || FAMILIES.iter().any(|f| upper.starts_with(f))
        || ENDINGS.iter().any(|e| upper.ends_with(e) || upper == e[1..])
        || PARTS.iter().any(|p| upper.contains(p));
    match held {
        true => Err(never(
            &format!("the variable {name}"),
            "by its name it is a key, or steers programs; `[env] pass` in your own config.toml can pass it",
        )),
        false => Ok(()),
    }
}

fn package(name: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    match name.len() > 1 && name.bytes().all(fine) && name.as_bytes()[0].is_ascii_alphanumeric() {
        true => Ok(()),
        false => Err(bad(format!("{name:?} in packages is no Debian package's name"))),
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
    if !guest.is_absolute() || !plain || !same || asked.guest.chars().any(char::is_control) {
        return Err(bad(format!("{:?} is not a plain absolute path in the guest, such as /mnt/data", asked.guest)));
    }
    if TAKEN.iter().any(|t| guest.starts_with(t) || Path::new(t).starts_with(guest)) {
        return Err(never(&format!("a mount at {}", asked.guest), "that place is the guest's own; /mnt/NAME is free"));
    }
    let host = &asked.host;
    let rooted = host.starts_with('/') || host.starts_with("~/") || host.starts_with("${PROJECT}/");
    let odd = host.chars().any(char::is_control) || host.trim_start_matches("${PROJECT}").contains("${");
    match rooted && !odd {
        true => Ok(()),
        false => Err(bad(format!("{host:?} is not an absolute path, nor one below ~/ or ${{PROJECT}}/"))),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
