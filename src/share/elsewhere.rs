//! In place of the share server where there is none: Apple's container shares directories itself.

use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::plan::Plan;
use serde::Serialize;
use std::os::fd::RawFd;

pub use crate::engine::share::VERB;

/// Never made.
#[derive(Debug, Serialize)]
pub enum Config {}

impl Config {
    /// There is nobody to be told anything.
    ///
    /// # Errors
    /// Always.
    pub fn new(_: &Plan, _: &[RawFd], _: RawFd, _: RawFd, _: u32) -> Result<Config> {
        Err(none())
    }

    /// Nor anybody else.
    ///
    /// # Errors
    /// Always.
    pub fn empty(_: RawFd, _: u32) -> Result<Config> {
        Err(none())
    }
}

/// There is nothing to serve with.
///
/// # Errors
/// Always.
pub fn serve() -> Result<Exit> {
    Err(none())
}

fn none() -> Failure {
    Failure::new("cannot share directories with QEMU")
        .because("the share server runs on Linux only")
        .next("vmclaude status")
}
