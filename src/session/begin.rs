//! What this process must have and must not do before it runs a session.

use crate::engine::launch::FIRST_FD;
use crate::error::{Context, Failure, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::os::unix::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// Descriptors that a session needs at least.
const DESCRIPTORS: u64 = FIRST_FD as u64 + 200;

/// Neither we nor what we start leaves a core with keys in it. One byte, and not none: programs that take cores through a
/// pipe are called with none, and not with one.
fn no_cores() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 1, 1);
}

/// Sees to this process's limits and makes the runtime of one session. Making it panics where it cannot have what it needs for
/// signals, which is a failure as any other.
pub(super) fn runtime() -> Result<Runtime> {
    no_cores();
    descriptors()?;
    let what = || "cannot start";
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let built = std::panic::catch_unwind(|| Builder::new_current_thread().enable_io().enable_time().build());
    std::panic::set_hook(hook);
    built.map_err(|_| Failure::new(what()).because("there are no descriptors left").next("ulimit -n"))?.what(what)
}

/// Makes sure that there are descriptors enough: those that are handed on have numbers from [`FIRST_FD`] on, and the runtime
/// takes it badly when it cannot have its own.
fn descriptors() -> Result<()> {
    let few = |why: &dyn std::fmt::Display| {
        Failure::new("cannot open as many files as a session needs")
            .because(why)
            .next(format!("ulimit -n {DESCRIPTORS}"))
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(|e| few(&e))?;
    if soft < DESCRIPTORS {
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS.min(hard), hard).map_err(|e| few(&e))?;
    }
    if hard < DESCRIPTORS {
        return Err(few(&format!("the limit is {hard}")));
    }
    UnixStream::pair().map(drop).map_err(|e| few(&e))
}
