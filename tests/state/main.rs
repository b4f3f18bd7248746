//! What belongs to one project stays there: homes, conversations, memory, trust. In real virtual machines, and with the
//! real Claude Code where the promise is about it, so that a version that breaks one is noticed.
//!
//! Needs the image that `tests/run` builds.

mod claude;
mod git;
mod homes;
mod key;
mod login;
#[path = "../support/mod.rs"]
mod support;
