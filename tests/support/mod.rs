//! What end-to-end tests share: a hermetic world with a real image, programs in it with limits, a terminal, the search for
//! what a session left behind, and servers to talk to.
#![allow(dead_code, unused_imports)] // Each test program uses its own part of it.

pub(crate) mod api;
pub(crate) mod apple;
pub(crate) mod canary;
pub(crate) mod cases;
pub(crate) mod image;
pub(crate) mod leaks;
pub(crate) mod netns;
pub(crate) mod on_terminal;
pub(crate) mod program;
pub(crate) mod pty;
pub(crate) mod wait;
pub(crate) mod warm;
pub(crate) mod world;

pub(crate) use cases::Case;
pub(crate) use program::{Done, Limited};
pub(crate) use wait::until;
pub(crate) use world::{Engine, Who, World};

/// Whether everything is tested, however long it takes (`tests/run --full`).
#[allow(clippy::disallowed_methods)] // Host is for the program; this is a switch of the tests
pub(crate) fn full() -> bool {
    std::env::var_os("VMCLAUDE_TESTS").is_some_and(|v| v == "full")
}
