//! The machine of a session, whatever carries it out: started, watched and ended through here.

use super::apple::{self, Client, Proofs};
use super::processes::{self, Processes};
use super::volume::Held;
use crate::engine::launch::Launch;
use crate::error::Result;
use crate::plan::Plan;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use vmclaude_init::wire::mux::Wire;

/// What runs for a session. Dropped, it is gone.
pub(super) enum Machine {
    /// QEMU and its share server.
    Qemu(Processes),
    /// The client of a container.
    Apple(Client),
}

impl Machine {
    /// Starts what `launch` says and connects to its supervisor. Whatever runs is in `slot`, also when this is given up.
    pub(super) async fn start(
        plan: &Plan,
        launch: &Launch,
        dir: &Path,
        volume: Option<&Held>,
        slot: &mut Option<Machine>,
    ) -> Result<Wire> {
        match launch {
            Launch::Qemu(launch) => processes::start(plan, launch, dir, volume, slot).await,
            Launch::Apple(container) => apple::start(plan, container, dir, slot).await,
        }
    }

    /// The numbers of its processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        match self {
            Machine::Qemu(processes) => processes.pids(),
            // The machine is a process of the system's.
            Machine::Apple(_) => Vec::new(),
        }
    }

    /// Its memory, if the host sees it.
    pub(super) fn memory(&self) -> Option<File> {
        match self {
            Machine::Qemu(processes) => processes.memory(),
            Machine::Apple(_) => None,
        }
    }

    /// The connection for what the host changes, where there is one; once.
    pub(super) fn events(&mut self) -> Option<UnixStream> {
        match self {
            Machine::Qemu(processes) => processes.events(),
            Machine::Apple(_) => None,
        }
    }

    /// Has the directories that it sees prove themselves, where others mounted them.
    pub(super) fn prove(&self, plan: &Plan) -> Result<Proofs> {
        match self {
            Machine::Qemu(_) => Ok(Proofs::none()),
            Machine::Apple(_) => Proofs::make(plan),
        }
    }

    /// Whether it is a container of the system's, whose shares are the system's own.
    pub(super) fn is_container(&self) -> bool {
        matches!(self, Machine::Apple(_))
    }

    /// What should not have ended and has.
    pub(super) fn gone(&mut self) -> Option<&'static str> {
        match self {
            Machine::Qemu(processes) => processes.gone(),
            Machine::Apple(client) => client.gone(),
        }
    }

    /// How what ended by itself ended.
    pub(super) fn ended(&mut self) -> Vec<String> {
        match self {
            Machine::Qemu(processes) => processes.ended(),
            Machine::Apple(client) => client.ended(),
        }
    }

    /// The conversation came to its proper end, and the supervisor ends by itself.
    pub(super) fn farewell(&mut self) {
        match self {
            // Nothing in it is worth waiting for.
            Machine::Qemu(_) => {}
            Machine::Apple(client) => client.farewell(),
        }
    }
}
