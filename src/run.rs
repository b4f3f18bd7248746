//! One invocation, top to bottom.

use crate::cli::args::RunFlags;
use crate::engine::launch::Launch;
use crate::engine::qemu::{self, Accel, Files, Machine};
use crate::engine::share;
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::plan::{Place, Plan};
use crate::{session, settings};
use std::ffi::OsString;

/// Runs Claude in a VM for the current directory.
///
/// # Errors
/// When the VM cannot be started or was lost.
pub fn claude(host: &Host, flags: &RunFlags, args: Vec<OsString>) -> Result<Exit> {
    command(host, flags, std::iter::once(OsString::from("claude")).chain(args).collect())
}

/// Runs a command in a VM for the current directory.
///
/// # Errors
/// When the VM cannot be started or was lost.
pub fn command(host: &Host, flags: &RunFlags, argv: Vec<OsString>) -> Result<Exit> {
    let settings = settings::load(host)?;
    let root = host.cwd.clone().ok_or_else(|| Failure::refused("the current directory is gone").next("cd"))?;
    let place = Place { root, rest: "".into(), identity: None };
    let plan = Plan::new(host, &settings, &place, argv, &flags.allow_host);
    let dir = std::path::Path::new("/tmp/proto/img");
    let machine = Machine {
        qemu: "/usr/bin/qemu-system-x86_64".into(),
        accel: Accel::Tcg,
        cores: host.cores,
        files: Files {
            kernel: dir.join("vmlinux"),
            initrd: dir.join("initrd.cpio"),
            base: dir.join("base.erofs"),
            claude: dir.join("claude.erofs"),
            scratch: dir.join("scratch.ext4"),
        },
    };
    let launch =
        Launch { share: share::program(&host.exe, &plan), machine: qemu::program(&machine, &plan.limits, true) };
    session::run(host, &plan, &launch)
}
