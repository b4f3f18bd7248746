//! Who runs the program: this machine, or an engine that has a VM. Another engine is another line here.

use crate::support::{self, World};
use std::ffi::OsString;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Nobody stands between: what the others are compared with.
    Host,
    /// QEMU on Linux.
    Linux,
    /// The driver for Apple's `container`, with the double in its place.
    Apple,
}

impl Engine {
    /// Those that are compared with the host in this run of the tests.
    pub(crate) fn here() -> &'static [Engine] {
        match support::Engine::of_this_run() {
            support::Engine::Qemu => &[Engine::Linux],
            support::Engine::Apple => &[Engine::Apple],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Host => "host",
            Engine::Linux => "Linux VM",
            Engine::Apple => "Apple driver",
        }
    }

    /// What stands before the program's words.
    pub(crate) fn prefix(self, world: &World) -> Vec<OsString> {
        match self {
            Engine::Host => Vec::new(),
            Engine::Linux | Engine::Apple => vec![world.path("opt/bin/vmclaude-container").into()],
        }
    }
}

/// A world in which each run is a copy of one template, which all these tests share, where the engine has templates.
pub(crate) fn world(engine: Engine) -> World {
    assert_ne!(engine, Engine::Host);
    support::warm::world(support::Who::Current)
}
