//! Limits of the process that are small, and signals while it waits.

use crate::case::{Case, Lab, Outcome};
use crate::support::{Limited, leaks, until};
use nix::sys::signal::Signal;

/// As the shell's `ulimit` sets them.
const LIMITS: &[(&str, &str)] = &[
    ("8 descriptors", "ulimit -n 8"),
    ("12 descriptors", "ulimit -n 12"),
    ("20 descriptors", "ulimit -n 20"),
    ("100 descriptors", "ulimit -n 100"),
    ("205 descriptors", "ulimit -n 205"),
    ("files of no size", "ulimit -f 0"),
    ("files of 1 MiB", "ulimit -f 1024"),
    ("64 MiB of memory", "ulimit -v 65536"),
    ("no processor time but a second", "ulimit -t 1"),
];

/// Stops at a step that QEMU never leaves.
const SILENT: &str = "#!/bin/sh\nexec sleep 600\n";

pub(crate) fn cases() -> Vec<Case> {
    let limited = LIMITS.iter().map(|(name, limit)| {
        Case::new(*name, "error", move |lab: &Lab| {
            let mut command = lab.world.command("sh");
            command.args(["-c", &format!("{limit}; exec \"$0\" -p hi")]).arg(lab.shim());
            Ok(Outcome::Ended(command.done()))
        })
    });
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGKILL];
    let interrupted = signals.into_iter().map(|signal| {
        Case::new(format!("{signal} while QEMU"), "hang", move |lab: &Lab| {
            lab.qemu(SILENT);
            let mut live = lab.run().live();
            until("QEMU and the share run", || (leaks::processes(&lab.world).len() >= 3).then_some(()));
            live.signal(signal);
            let done = live.end();
            lab.as_before();
            match done.end() {
                (None, Some(number)) if number == signal as i32 => Ok(Outcome::Killed(done)),
                _ => Err(format!("{done:?}")),
            }
        })
    });
    limited.chain(interrupted).collect()
}
