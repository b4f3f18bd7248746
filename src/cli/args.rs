//! The command line as clap sees it: definitions only. Help, completions and man pages come from here.

mod trust;

mod session;

use crate::hook::Shell;
use crate::plan::network::{Listed, Mode};
use clap::{Args, Parser, Subcommand, ValueHint};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use session::{Session, SessionForward, SessionLogs, SessionStop, SessionVerb};

pub use trust::{Approve, Review};

/// Runs Claude Code in a throw-away virtual machine.
///
/// Words that are not one of the commands below go to Claude unchanged: `vmclaude -p "say hi"` runs Claude in a VM for
/// this directory, enrolled or not.
#[derive(Debug, Parser)]
#[command(
    name = "vmclaude",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    subcommand_required = true
)]
pub struct Vmclaude {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Our verbs. None is a subcommand of Claude's.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// From now on, `claude` typed in this directory runs in a VM
    Enroll(Enroll),
    /// `claude` typed in this directory runs on the host again
    Unenroll(Unenroll),
    /// List the enrolled directories and their state
    List(Output),
    /// Explain what `claude` would do here, and why
    Status(Status),
    /// Run Claude in a VM for this directory, with flags of ours
    Run(Run),
    /// Run the host's claude, deliberately, even in an enrolled directory
    Host(HostArgs),
    /// Look at what a project's .vmclaude.toml requests, and approve it
    Approve(Approve),
    /// Show what sessions changed of the files that programs here run unasked; put it back, or accept it
    Review(Review),
    /// List running sessions, stop them, read their logs, open ports into them
    Session(Session),
    /// Build, list and remove images
    Image(Image),
    /// Print the shell hook
    Hook(Hook),
    /// Finish what a crashed session left behind; remove volumes
    Prune(Prune),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the man pages into a directory
    #[command(hide = true)]
    Man(Man),
    /// What the shell function and the shim call instead of claude
    #[command(hide = true)]
    Route(Route),
    /// Print the enrolled directory that contains the current one
    #[command(hide = true)]
    Where(State),
    /// As a hook of the host's Claude Code: stop it in an enrolled directory
    #[command(hide = true)]
    Guard(Guard),
}

/// `vmclaude enroll`.
#[derive(Debug, Args)]
pub struct Enroll {
    /// The directory (default: the current one)
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Enroll this directory although it lies inside a git repository
    #[arg(long)]
    pub here: bool,
}

/// `vmclaude unenroll`.
#[derive(Debug, Args)]
pub struct Unenroll {
    /// The directory (default: the current one)
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// How to print an answer.
#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
}

/// `vmclaude status`.
#[derive(Debug, Args)]
pub struct Status {
    /// How to print it.
    #[command(flatten)]
    pub output: Output,
    /// Stay, and show it anew whenever something changes
    #[arg(long)]
    pub watch: bool,
}

/// Flags of `vmclaude run` and `vmclaude-container`.
#[derive(Debug, Args, Default)]
pub struct RunFlags {
    /// Print the plan and every command, and run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Let the VM reach this local address, on its own loopback at the same port
    #[arg(long, value_name = "ADDR:PORT")]
    pub allow_host: Vec<SocketAddr>,
    /// What the VM may reach: open (every public address), allowlist (only what is listed) or none
    #[arg(long, value_name = "MODE")]
    pub network: Option<Mode>,
    /// List a name for `--network allowlist`, such as registry.example.com or *.example.org:22 (port 443 unless given)
    #[arg(long, value_name = "NAME[:PORT]")]
    pub allow: Vec<Listed>,
}

/// `vmclaude run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Flags of ours.
    #[command(flatten)]
    pub flags: RunFlags,
    /// Arguments for Claude
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Runs a command in a throw-away virtual machine for this directory.
#[derive(Debug, Parser)]
#[command(name = "vmclaude-container", version)]
pub struct Container {
    /// Flags of ours.
    #[command(flatten)]
    pub flags: RunFlags,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
}

/// `vmclaude host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Arguments for the host's claude
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// `vmclaude image`.
#[derive(Debug, Args)]
pub struct Image {
    /// What to do with images.
    #[command(subcommand)]
    pub verb: ImageVerb,
}

/// What can be done with images.
#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Build the image: the base system where it is missing or its recipe changed, Claude Code on its own disk
    Build(ImageBuild),
    /// List images
    List(Output),
    /// Remove images
    Rm(ImageRm),
}

/// `vmclaude image build`.
#[derive(Debug, Args)]
pub struct ImageBuild {
    /// Claude Code's version: `latest` or a number such as 2.1.330
    #[arg(long, value_name = "VERSION")]
    pub claude: Option<String>,
    /// Build the base system again although its recipe did not change
    #[arg(long)]
    pub fresh: bool,
}

/// `vmclaude image rm`.
#[derive(Debug, Args)]
pub struct ImageRm {
    /// Image ids as in `vmclaude image list`
    #[arg(required_unless_present = "all")]
    pub ids: Vec<String>,
    /// Every image
    #[arg(long)]
    pub all: bool,
}

/// `vmclaude hook`.
#[derive(Debug, Args)]
pub struct Hook {
    /// Which shell
    #[arg(required_unless_present = "install")]
    pub shell: Option<Shell>,
    /// Print the lines for the shell's start file instead
    #[arg(long)]
    pub rc: bool,
    /// Put the hooks and the shim in place, as enroll does
    #[arg(long, conflicts_with_all = ["shell", "rc"])]
    pub install: bool,
}

/// `vmclaude prune`.
#[derive(Debug, Args)]
pub struct Prune {
    /// Also remove what VMs kept on disks of their own ([volumes] in config.toml), of every project
    #[arg(long)]
    pub volumes: bool,
    /// Do not ask
    #[arg(long, requires = "volumes")]
    pub yes: bool,
}

/// `vmclaude completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Which shell
    pub shell: Shell,
}

/// `vmclaude man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Where to write them
    #[arg(value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
}

/// `vmclaude guard`.
#[derive(Debug, Args)]
pub struct Guard {
    /// Where the registry is.
    #[command(flatten)]
    pub state: State,
    /// Put the hook into the settings of the host's Claude Code
    #[arg(long, conflicts_with = "state")]
    pub install: bool,
    /// Take it out again
    #[arg(long, conflicts_with_all = ["install", "state"])]
    pub remove: bool,
}

/// Where the registry is, from callers that must not trust the environment for it.
#[derive(Debug, Args)]
pub struct State {
    /// The state directory (default: the user's)
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// `vmclaude route`.
#[derive(Debug, Args)]
pub struct Route {
    /// Where the registry is.
    #[command(flatten)]
    pub state: State,
    /// Arguments for Claude
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}
