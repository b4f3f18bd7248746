//! What `vmclaude status` answers: one value, printed as text for people or as JSON for programs (`docs/status.md`).

use crate::session::denied::Refused;
use crate::session::record::Seen;
use crate::session::volume;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The form of this answer: changes when a field's meaning does, not when one is added.
    pub version: u32,
    /// The current directory; `null` when it was deleted.
    pub directory: Option<PathBuf>,
    /// What `claude` would do here.
    pub claude: Claude,
    /// What runs VMs.
    pub engine: Engine,
    /// The image that runs use; `null` when there is none.
    pub image: Option<Image>,
    /// What a VM gets.
    pub limits: Limits,
    /// What a VM may reach.
    pub network: Network,
    /// What VMs keep on disks of their own.
    pub volumes: Volumes,
    /// Sessions that run now.
    pub sessions: Vec<Seen>,
    /// How the shells find us.
    pub shell: Shell,
    /// What is wrong, each with what to type.
    pub problems: Vec<Problem>,
}

/// What `claude` would do in the current directory, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claude {
    /// Where it would run.
    pub runs: Runs,
    /// Why, in words.
    pub why: String,
    /// The enrolled tree.
    pub tree: Option<Tree>,
    /// The host's own claude.
    pub host: Option<PathBuf>,
}

/// Where `claude` would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runs {
    /// In a VM.
    Vm,
    /// On the host.
    Host,
    /// Nowhere: it would refuse.
    Refuses,
}

/// The enrolled tree that the current directory lies in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// Its root, where it is now.
    pub root: PathBuf,
    /// The current directory in the guest.
    pub guest: PathBuf,
    /// Where it was enrolled, when it was moved since and known by its identity.
    pub moved_from: Option<PathBuf>,
    /// Where its home and its Claude configuration are kept; `null` when it cannot be looked at.
    pub keeps: Option<PathBuf>,
}

/// What runs VMs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Engine {
    /// QEMU's program; `null` when there is none.
    pub program: Option<PathBuf>,
    /// What it says of its version.
    pub version: Option<String>,
    /// `kvm`, `tcg`, `hardware` with Apple's container, or `unknown` before the first run since the host booted.
    pub acceleration: &'static str,
    /// Why.
    pub why: String,
}

/// The image that runs use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its name in `vmclaude image list`.
    pub id: String,
    /// When it was built, in seconds since 1970.
    pub created: u64,
    /// Seconds since then.
    pub age: u64,
    /// Claude Code's version.
    pub claude: String,
    /// The kernel's version.
    pub kernel: String,
}

/// What a VM gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// What a VM may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// All of it, in words; empty when the settings cannot be read.
    pub reach: String,
    /// What VMs were refused lately, the newest last.
    pub refused: Vec<Refused>,
    /// Local addresses that the configuration allows.
    pub allow_hosts: Vec<String>,
}

/// What VMs keep on disks of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volumes {
    /// Directories of the project here that are on its volume, from its root.
    pub directories: Vec<PathBuf>,
    /// The volume of the project here; `null` when there is none yet.
    pub here: Option<volume::Seen>,
    /// How many volumes there are, of all projects.
    pub all: usize,
    /// What all of them take of the host's disk, in bytes.
    pub allocated: u64,
}

/// How the shells find us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shell {
    /// Whether hooks and shim are there and of this version.
    pub installed: bool,
    /// The `claude` that is first on PATH.
    pub on_path: Option<PathBuf>,
    /// Whether that is the shim.
    pub shim_first: bool,
    /// What `claude` means in each shell that this machine has.
    pub shells: Vec<InShell>,
    /// Whether the host's Claude Code asks `vmclaude guard` before it starts (the second barrier).
    pub guard: bool,
}

/// What `claude` means in a shell that was started as a terminal starts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InShell {
    /// `zsh`, `bash` or `fish`.
    pub name: &'static str,
    /// `vmclaude` for our function, a path, `alias WORDS`, `function`, `none`, or `unknown`.
    pub claude: String,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub what: String,
    /// Why, the nearest reason first.
    pub because: Vec<String>,
    /// What to type.
    pub next: Option<String>,
}

/// The answer as text. `now`: seconds since 1970.
pub fn text(status: &Status, now: u64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10}{value}");
    };
    let path = |p: &Option<PathBuf>| p.as_deref().map_or_else(|| "none".to_owned(), vmclaude_shim::refusal::shown);
    line("directory", path(&status.directory));
    line("claude", claude(&status.claude));
    line("", format!("the host's own: {}", path(&status.claude.host)));
    if let Some(keeps) = status.claude.tree.as_ref().and_then(|tree| tree.keeps.as_deref()) {
        line("", format!("its home and conversations: {}", vmclaude_shim::refusal::shown(keeps)));
    }
    let engine = &status.engine;
    line("engine", format!("{} ({})", engine.version.as_deref().unwrap_or("no QEMU"), path(&engine.program)));
    line("speed", format!("{}: {}", engine.acceleration, engine.why));
    line("image", status.image.as_ref().map_or_else(|| "none".to_owned(), image));
    let cpus = status.limits.cpus;
    line("limits", format!("{cpus} cpu{}, {} MiB", if cpus == 1 { "" } else { "s" }, status.limits.memory_mib));
    line("network", status.network.reach.clone());
    for refused in status.network.refused.iter().rev().take(5) {
        let allow = refused.allow.as_ref().map_or_else(String::new, |words| format!("; to allow it: {words}"));
        line("", format!("refused {} {} ago: {}{allow}", refused.target, ago(now, refused.when), refused.why));
    }
    if !status.volumes.directories.is_empty() || status.volumes.all > 0 {
        line("volume", volumes(&status.volumes));
    }
    line("shell", shell(&status.shell));
    let shells: Vec<String> = status.shell.shells.iter().map(|s| format!("{}: {}", s.name, s.claude)).collect();
    if !shells.is_empty() {
        line("", format!("claude means, in {}", shells.join("; ")));
    }
    line("sessions", status.sessions.len().to_string());
    for row in super::sessions::table(&status.sessions, now).lines() {
        line("", row.to_owned());
    }
    for problem in &status.problems {
        let _ = write!(out, "\n! {}\n", problem.what);
        out.extend(problem.because.iter().map(|why| format!("  because {why}\n")));
        out.extend(problem.next.iter().map(|next| format!("  try: {next}\n")));
    }
    out
}

fn claude(claude: &Claude) -> String {
    let does = match claude.runs {
        Runs::Vm => "runs in a VM",
        Runs::Host => "runs on the host",
        Runs::Refuses => "refuses to run",
    };
    let tree = claude.tree.as_ref().map_or_else(String::new, |t| format!(", in {}", t.guest.display()));
    format!("{does}{tree}: {}", claude.why)
}

fn image(image: &Image) -> String {
    let age = ago(image.age, 0);
    format!("{}: Claude Code {}, kernel {}, built {age} ago", image.id, image.claude, image.kernel)
}

fn volumes(volumes: &Volumes) -> String {
    let dirs = crate::plan::volumes::listed(&volumes.directories);
    let here = match &volumes.here {
        Some(seen) => {
            let used = if seen.in_use { ", in use" } else { "" };
            let dirs = if dirs.is_empty() { String::new() } else { format!(" with {dirs}") };
            format!("{} of at most {}{dirs}{used}", super::size(seen.allocated), super::size(seen.size))
        }
        None if dirs.is_empty() => "none here".to_owned(),
        None => format!("none yet; the first run makes one for {dirs}"),
    };
    match volumes.all {
        0 => here,
        all => {
            format!("{here}; {} in {all} of all projects (vmclaude prune --volumes)", super::size(volumes.allocated))
        }
    }
}

fn shell(shell: &Shell) -> String {
    let installed = if shell.installed { "hooks and shim are in place" } else { "hooks or shim are not in place" };
    let first = match (&shell.on_path, shell.shim_first) {
        (None, _) => ", no claude on PATH".to_owned(),
        (Some(_), true) => ", the shim is first on PATH".to_owned(),
        (Some(other), false) => format!(", {} is first on PATH", vmclaude_shim::refusal::shown(other)),
    };
    format!("{installed}{first}{}", if shell.guard { ", the host's Claude Code asks vmclaude" } else { "" })
}

/// A time that has passed, in its largest unit.
pub(super) fn ago(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    let units = [(86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= *size).unwrap_or((1, "second"));
    let n = seconds / size;
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (seconds, words) in [(0, "0 seconds"), (1, "1 second"), (3599, "59 minutes"), (200_000, "2 days")] {
            assert_eq!(ago(seconds + 5, 5), words);
        }
        assert_eq!(ago(0, 9), "0 seconds", "a clock that was set back");
    }
}
