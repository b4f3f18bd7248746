//! The engine of a run, whichever it is.

use super::{apple, qemu};
use crate::engine::launch::Launch;
use crate::error::Result;
use crate::host::Host;
use crate::plan::{self, Plan};
use crate::report;
use crate::session;
use crate::session::volume::Held;
use crate::settings::{self, Settings};

/// What carries a plan out on this host, found and known to work.
pub(super) enum Engine {
    Qemu(qemu::Machine),
    Apple(apple::Container),
}

impl Engine {
    /// Finds it. For a dry run nothing is started, so what only a trial can tell is hoped for.
    pub(super) fn ready(host: &Host, settings: &Settings, dry_run: bool) -> Result<Engine> {
        match settings.engine {
            settings::Engine::Qemu => qemu::ready(host, settings, dry_run).map(Engine::Qemu),
            settings::Engine::Apple => apple::ready(host, settings, dry_run).map(Engine::Apple),
        }
    }

    /// The plan's volume, unless another session has it: then what would be there is thrown away, and a person is told.
    pub(super) fn volume(&self, host: &Host, plan: &mut Plan) -> Result<Option<Held>> {
        let Some(local) = &mut plan.local else { return Ok(None) };
        let Some(file) = &local.volume else { return Ok(None) };
        let held = match self {
            Engine::Qemu(_) => session::volume::hold(file, local.size)?,
            Engine::Apple(container) => session::apple::volume::hold(container, file, local.size)?,
        };
        if held.is_none() {
            local.volume = None;
            if host.tty[2] {
                let dirs = plan::volumes::listed(&local.dirs);
                report::note(&format!(
                    "another session of this project has its volume: here {dirs} will be empty, and not kept"
                ));
            }
        }
        Ok(held)
    }

    /// The processes for this plan.
    pub(super) fn launch(&self, host: &Host, settings: &Settings, plan: &Plan) -> Result<Launch> {
        match self {
            Engine::Qemu(machine) => qemu::launch(host, settings, plan, machine).map(Launch::Qemu),
            Engine::Apple(container) => Ok(Launch::Apple(container.clone())),
        }
    }

    /// Whether this engine cannot keep a guest's root from changing protected paths: then they are looked at afterwards. QEMU's share
    /// server refuses the change itself.
    pub(super) fn only_checks(&self) -> bool {
        matches!(self, Engine::Apple(_))
    }

    /// What the next run will be glad of; this one is over and does not care.
    pub(super) fn after(&self, host: &Host, plan: &Plan, launch: &Launch) {
        if let (Engine::Qemu(machine), Launch::Qemu(launch)) = (self, launch) {
            qemu::after(host, plan, machine, launch);
        }
    }
}
