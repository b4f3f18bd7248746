//! Who runs the program: this machine, or an engine that has a VM. Another engine is another line here.

use crate::support::{Limited, World, image, leaks, until};
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Nobody stands between: what the others are compared with.
    Host,
    /// QEMU on Linux.
    Linux,
}

impl Engine {
    /// Those that can be compared with the host here.
    pub(crate) fn here() -> &'static [Engine] {
        &[Engine::Linux]
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Host => "host",
            Engine::Linux => "Linux VM",
        }
    }

    /// What stands before the program's words.
    pub(crate) fn prefix(self, world: &World) -> Vec<OsString> {
        match self {
            Engine::Host => Vec::new(),
            Engine::Linux => vec![world.path("opt/bin/vmclaude-container").into()],
        }
    }
}

/// A world in which each run is a copy of one template, which all these tests share.
pub(crate) fn world(engine: Engine) -> World {
    assert_ne!(engine, Engine::Host);
    let world = World::new(crate::support::Who::Current);
    let cache = image::target().join("tests/contract-cache");
    fs::create_dir_all(cache.join("vmclaude")).expect("mkdir");
    symlink(&cache, world.path("home/.cache")).expect("ln");
    let lock = fs::File::create(cache.join("lock")).expect("a file");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("a lock");
    // The first one boots, and has the template made of which the others are copies.
    let done = world.vm(&["true"]).env("VMCLAUDE_WARM_START", "1").done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    until("nobody makes a template", || leaks::processes(&world).is_empty().then_some(()));
    world
}
