//! Real zsh, bash and fish against the real shim, with a hermetic home, PATH and environment, a fake claude as the host's
//! and a fake vmclaude. What a shell could do to reach the host's claude from an enrolled directory, it is made to do here.

mod batch;
mod finding;
mod hooks;
mod interactive;
mod meanings;
#[path = "../support/on_terminal.rs"]
mod on_terminal;
mod person;
mod pty;
mod races;
mod signals;
mod status;
mod world;
