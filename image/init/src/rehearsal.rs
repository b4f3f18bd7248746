//! A rehearsal of the command's start. Under emulation code that runs for the first time is translated first, which takes
//! longer than to run it, and what was translated for one processor serves the other. So while one sets the session up, another
//! goes the way that the command will go: a process becomes another user, is executed, loads its libraries, and ends.
//!
//! It is forked ahead as the command's own process is, and gets nothing of the session's: neither its environment nor its streams. It
//! begins with the host's first word, before the seed, so in every copy it draws the same random numbers; nobody else sees them.

use crate::Place;
use crate::runner::{Ends, Order, Runner};
use crate::sys::log;
use nix::sched::{CpuSet, sched_setaffinity};
use std::fs::File;
use std::io;

/// The word on the kernel's command line by which the host asks for it.
const WORD: &str = "vmclaude.rehearse";

/// What is executed: found in a path, linked as most programs are, and soon over.
const PROGRAM: &str = "true";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The process that waits for it.
pub(crate) struct Rehearsal(Option<(Runner, Ends)>);

impl Rehearsal {
    /// Makes it, where the host asks for one.
    pub(crate) fn new(place: Place) -> Rehearsal {
        let wanted = place == Place::Machine && crate::boot::is_asked(WORD);
        Rehearsal(wanted.then(|| make(place).inspect_err(|e| log(&format!("no rehearsal: {e}"))).ok()).flatten())
    }

    /// Begins it. Nothing depends on how it ends; it is reaped as every orphan is.
    pub(crate) fn begin(self) {
        if let Some((runner, ends)) = self.0
            && let Err(e) = begin(runner, ends)
        {
            log(&format!("no rehearsal: {e}"));
        }
    }
}

fn make(place: Place) -> io::Result<(Runner, Ends)> {
    let runner = Runner::new(place)?;
    // Where we wake up is where we were, and that is mostly the first.
    let mut others = CpuSet::new();
    (1..CpuSet::count()).try_for_each(|nth| others.set(nth))?;
    sched_setaffinity(runner.pid(), &others)?;
    let null = || File::options().read(true).write(true).open("/dev/null").map(Into::into);
    Ok((runner, Ends { streams: [null()?, null()?, null()?], terminal: None }))
}

fn begin(mut runner: Runner, ends: Ends) -> io::Result<()> {
    let order = Order {
        cwd: b"/",
        argv: &[PROGRAM.into()],
        env: &[(b"PATH".to_vec(), PATH.into())],
        user: crate::setup::USUAL,
        umask: 0o22,
        closed: [false; 3],
    };
    runner.tell(&order, ends)
}
