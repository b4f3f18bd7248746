//! The end of a command is the end that its parent sees: the same as when the command runs on the host.

use crate::support::{Limited, Who, World};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

/// Runs the command in the VM and on the host, with cores allowed, and compares how they end.
#[track_caller]
fn ends_as_on_the_host(n: usize, argv: &[&str]) {
    let world = World::new(Who::nth(n));
    let guest = cores(&mut world.vm(argv)).done();
    // Elsewhere, because this one may well leave a core.
    let host = cores(world.command(argv[0]).args(&argv[1..]).current_dir(world.path("bin"))).done();
    assert_eq!(guest.end(), host.end(), "{argv:?}: {guest:?}");
    assert_eq!(guest.out, host.out, "{argv:?}");
    assert!(!guest.status.core_dumped(), "{argv:?} left a core");
    assert!(guest.err.is_empty(), "no words of ours: {guest:?}");
    world.assert_clean();
}

fn cores(command: &mut Command) -> &mut Command {
    let raise = || {
        let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
        Ok(setrlimit(Resource::RLIMIT_CORE, most, most)?)
    };
    // SAFETY: getrlimit and setrlimit are system calls that allocate nothing.
    unsafe { command.pre_exec(raise) }
}

macro_rules! ends {
    ($($name:ident: $n:expr, $script:expr;)*) => {
        $(#[test] fn $name() { ends_as_on_the_host($n, &["bash", "-c", $script]) })*
    };
}

ends! {
    code_0: 0, "echo out; exit 0";
    code_1: 1, "exit 1";
    code_7: 0, "exit 7";
    code_125_of_the_command: 1, "exit 125";
    code_126_of_the_command: 0, "exit 126";
    code_127_of_the_command: 1, "exit 127";
    code_255: 0, "exit 255";
    killed_by_term: 1, "kill -TERM $$";
    killed_by_kill: 0, "kill -KILL $$";
    killed_by_segv: 1, "kill -SEGV $$";
    killed_by_pipe: 0, "kill -PIPE $$";
}

#[test]
fn what_is_not_there_is_127_and_what_cannot_run_is_126() {
    let world = World::new(Who::nth(0));
    let missing = world.in_vm(&["no-such-program", "x"]);
    assert_eq!(missing.end(), (Some(127), None), "{missing:?}");
    assert!(missing.err().contains("no-such-program: command not found in the VM"), "{missing:?}");
    world.write("p/data", "no program\n");
    let plain = world.in_vm(&["./data"]);
    assert_eq!(plain.end(), (Some(126), None), "{plain:?}");
    assert!(plain.err().contains("./data"), "{plain:?}");
}
