//! A world in which each run is a copy of one template, which all such worlds share.

use super::{Engine, Limited, Who, World, image, leaks, until};
use nix::fcntl::{Flock, FlockArg};
use std::fs;
use std::os::unix::fs::symlink;

/// See the module; runs need `VMCLAUDE_WARM_START=1`. An engine without templates has a world like any other.
pub(crate) fn world(who: Who) -> World {
    let world = World::new(who);
    if world.engine == Engine::Apple {
        return world;
    }
    let cache = image::target().join("tests/contract-cache");
    fs::create_dir_all(cache.join("vmclaude")).expect("mkdir");
    fs::remove_dir_all(world.path("home/.cache")).expect("rm");
    symlink(&cache, world.path("home/.cache")).expect("ln");
    let lock = fs::File::create(cache.join("lock")).expect("a file");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("a lock");
    // The first one boots, and has the template made of which the others are copies.
    let done = world.vm(&["true"]).env("VMCLAUDE_WARM_START", "1").done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    until("nobody makes a template", || leaks::processes(&world).is_empty().then_some(()));
    world
}
