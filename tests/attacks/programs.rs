//! Programs of the host that a guest, or somebody else, could have put where ours are looked for.

use crate::support::{Limited, Who, World};
use crate::table::Table;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const CLASS: &str = "programs";

pub(crate) fn run(table: &mut Table) {
    let world = World::bare(Who::nth(1));
    let mark = world.path("out/ran");
    let script = format!("#!/bin/sh\ntouch \"{}\"\n", mark.display());
    for name in ["p/qemu", "opt/qemu", "opt/loose", "p/sub/claude", "p/claude"] {
        world.program(name, &script);
    }
    fs::set_permissions(world.path("opt/loose"), PermissionsExt::from_mode(0o777)).expect("chmod");
    symlink(world.path("p/qemu"), world.path("opt/link")).expect("ln");
    world.enroll();
    let runs = |qemu: &str| {
        world.configure(&format!("qemu = \"{qemu}\"\n"));
        let _ = fs::remove_file(&mark);
        // Its version is asked for by the status.
        world.vmclaude(&["status"]).done();
        mark.exists()
    };
    let at = |name: &str| world.path(name).to_str().expect("text").to_owned();
    let control = runs(&at("opt/qemu"));
    for (name, qemu) in [
        ("an engine inside a project", at("p/qemu")),
        ("an engine by a link into a project", at("opt/link")),
        ("an engine that everybody may write", at("opt/loose")),
        ("an engine by a relative path", "p/qemu".to_owned()),
    ] {
        table.note(CLASS, name, runs(&qemu), control);
    }
    // `claude` on PATH, in the places that a project can fill.
    let host = |path: &str| {
        let done =
            world.command(world.state().join("shims/claude")).env("PATH", path).current_dir(world.path("out")).done();
        let _ = fs::remove_file(&mark);
        done
    };
    let control = host(&format!("{}:/usr/bin:/bin", at("bin"))).out().contains(crate::support::world::HOST_MARK);
    for (name, path) in [
        ("the host's claude inside a project", format!("{}:{}", at("p"), at("bin"))),
        ("the host's claude by an empty entry", format!(":{}", at("bin"))),
        ("the host's claude by a dot", format!(".:{}", at("bin"))),
        ("the host's claude by a way down", format!("../p/sub:{}", at("bin"))),
    ] {
        let ran = host(&path).out().contains(crate::support::world::HOST_MARK);
        table.note(CLASS, name, !ran || mark.exists(), control);
    }
}
