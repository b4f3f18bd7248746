//! `vmclaude`: Claude Code in a throw-away virtual machine, as if it ran here.
//!
//! Modules in layer order; imports point to the same or an earlier line only (`tests/layers.rs`).

// 0: words
mod closed;
pub mod error;
pub mod exit;
pub mod files;
pub mod host;
pub mod os;
pub mod profile;
// 1: decisions, pure
pub mod plan;
pub mod screen;
pub mod settings;
// 2: foreign syntax, pure
pub mod engine;
pub mod hook;
// 3: effects
pub mod enrollment;
pub mod git;
pub mod image;
pub mod net;
pub mod session;
#[cfg(target_os = "linux")]
pub mod share;
#[cfg(not(target_os = "linux"))]
#[path = "share/elsewhere.rs"]
pub mod share;
pub mod state;
pub mod tripwire;
pub mod watch;
// 4: flows and words for people
pub mod cli;
pub mod report;
pub mod run;
