//! The words with which a person says what a project may have, and what of its changes stays.

use clap::{Args, ValueHint};

/// `vmclaude approve`.
#[derive(Debug, Args)]
pub struct Approve {
    /// Take the approval of this project back
    #[arg(long)]
    pub revoke: bool,
}

/// `vmclaude review`.
#[derive(Debug, Args)]
pub struct Review {
    /// Put these files back to what they were before
    #[arg(long, requires = "files", conflicts_with = "accept")]
    pub restore: bool,
    /// Accept these files as they are (default: all)
    #[arg(long)]
    pub accept: bool,
    /// Files, as they are listed (default: all)
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<String>,
}
