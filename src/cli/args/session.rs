//! The words of `vmclaude session`.

use super::Output;
use crate::plan::ports::Forward;
use clap::{Args, Subcommand};

/// `vmclaude session`.
#[derive(Debug, Args)]
pub struct Session {
    /// What to do with sessions.
    #[command(subcommand)]
    pub verb: SessionVerb,
}

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// List running sessions: project, since when, processor time, memory, ports
    List(Output),
    /// End a session and its VM
    Stop(SessionStop),
    /// Print the logs of a session that runs, or of one of the last that ended
    Logs(SessionLogs),
    /// Make a port of the VM reachable here, on 127.0.0.1 only, until the session ends
    Forward(SessionForward),
}

/// `vmclaude session stop`.
#[derive(Debug, Args)]
pub struct SessionStop {
    /// The start of its ID in `vmclaude session list` (default: this directory's)
    pub id: Option<String>,
    /// Every session
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
}

/// `vmclaude session logs`.
#[derive(Debug, Args)]
pub struct SessionLogs {
    /// The start of its ID (default: this directory's, running or the last that ended)
    pub id: Option<String>,
}

/// `vmclaude session forward`.
#[derive(Debug, Args)]
pub struct SessionForward {
    /// The port, or the port here and the port in the VM
    #[arg(value_name = "PORT[:PORT]")]
    pub port: Forward,
    /// The start of the session's ID (default: this directory's)
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
}
