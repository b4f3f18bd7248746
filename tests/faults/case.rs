//! One case, the world that it is tried in, and what must hold afterwards.

use crate::support::world::HOST_MARK;
use crate::support::{Done, Limited, Who, World, leaks, until};
use std::process::Command;
use std::sync::Arc;

/// The outcome of a case whose step this run did not come to. It does not count.
pub(crate) const NOT_REACHED: &str = "not reached";

/// What the machine of a lab says when nothing else is wrong: it dies at once.
const DIES: &str = "exited with 3";

/// How a case is tried: what came of it.
type Try = Arc<dyn Fn(&Lab) -> Result<Outcome, String> + Send + Sync>;

/// A step, a fault, and how to bring them together.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) step: String,
    pub(crate) fault: &'static str,
    pub(crate) attempt: Try,
}

/// What came of a case.
pub(crate) enum Outcome {
    /// The program ended like this.
    Ended(Done),
    /// It was killed by the test; this is what it had to say.
    Killed(Done),
    /// It went on: the guest was told of the fault, as it should be, and ended by itself.
    Heard(Done),
    /// It did not come to the step.
    NotReached,
}

impl Case {
    pub(crate) fn new(
        step: impl Into<String>,
        fault: &'static str,
        attempt: impl Fn(&Lab) -> Result<Outcome, String> + Send + Sync + 'static,
    ) -> Case {
        Case { step: step.into(), fault, attempt: Arc::new(attempt) }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} × {}", self.step, self.fault)
    }
}

/// A world with an enrolled project and a QEMU that dies at once, so that a run takes a tenth of a second.
pub(crate) struct Lab {
    pub(crate) world: World,
}

impl Lab {
    pub(crate) fn new(who: Who) -> Lab {
        let world = World::new(who);
        world.enroll();
        let lab = Lab { world };
        lab.as_before();
        // The first run makes directories that later ones find.
        let done = lab.run().done();
        assert!(done.err().contains(DIES), "{done:?}");
        lab
    }

    /// Has this program stand in for QEMU.
    pub(crate) fn qemu(&self, text: &str) {
        self.qemu_with(text, "");
    }

    /// The same, with more in `config.toml`.
    pub(crate) fn qemu_with(&self, text: &str, config: &str) {
        self.world.program("opt/qemu", text);
        self.world.configure(&format!("qemu = \"{}\"\n{config}", self.world.path("opt/qemu").display()));
    }

    /// Has the machine die at once again.
    pub(crate) fn as_before(&self) {
        self.qemu("#!/bin/sh\nexit 3\n");
    }

    /// `claude -p hi` where root has changed something before: `prepare` gets a path and the ids of the world's user, in a
    /// mount namespace of its own. Exit 99: it could not.
    pub(crate) fn elsewhere(&self, prepare: &str, path: &std::path::Path) -> Command {
        let (uid, gid) = self.world.who.ids();
        let mut command = self.world.command("unshare");
        // The world's user may not mount.
        std::os::unix::process::CommandExt::uid(&mut command, 0);
        std::os::unix::process::CommandExt::gid(&mut command, 0);
        let script = format!(
            "{{ {prepare}; }} || exit 99; user=$2 group=$3; shift 3\n\
             exec setpriv --reuid \"$user\" --regid \"$group\" --clear-groups \"$@\""
        );
        command.args(["-m", "sh", "-c", &script, "elsewhere"]).arg(path).args([uid.to_string(), gid.to_string()]);
        command.arg(self.shim()).args(["-p", "hi"]);
        command
    }

    /// The shim that makes plain `claude` ours.
    pub(crate) fn shim(&self) -> std::path::PathBuf {
        self.world.state().join("shims/claude")
    }

    /// `claude -p hi`, as any program finds it.
    pub(crate) fn run(&self) -> Command {
        let mut command = self.world.command(self.shim());
        command.args(["-p", "hi"]);
        command
    }

    /// Tries a case and looks at what it leaves.
    pub(crate) fn attempt(&self, case: &Case) -> Result<String, String> {
        // What takes too long panics, and is one wrong case of many.
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (case.attempt)(self)));
        let outcome = tried.map_err(|_| "it took too long".to_owned())??;
        let said = match &outcome {
            Outcome::NotReached => NOT_REACHED.to_owned(),
            Outcome::Ended(done) => judged(done)?,
            Outcome::Heard(done) => never_on_the_host(done).map(|()| "the guest was told".to_owned())?,
            Outcome::Killed(done) => never_on_the_host(done).map(|()| "killed".to_owned())?,
        };
        self.afterwards()?;
        Ok(said)
    }

    /// Nothing runs, the list can be read, the next run comes as far as the first one did, and then nothing is left.
    fn afterwards(&self) -> Result<(), String> {
        until("no process is left", || leaks::processes(&self.world).is_empty().then_some(()));
        let list = self.world.vmclaude(&["list"]).done();
        if !list.out().starts_with("ok ") {
            return Err(format!("the list of enrolled directories: {list:?}"));
        }
        let next = self.run().done();
        if !next.err().contains(DIES) {
            return Err(format!("the next run: {next:?}"));
        }
        let left = leaks::find(&self.world);
        if left.is_empty() {
            return Ok(());
        }
        // The next case is not to blame.
        let _ = std::fs::remove_dir_all(self.world.state().join("run"));
        Err(format!("left behind: {}", left.join("\n")))
    }

    /// A real machine runs a command.
    pub(crate) fn boots(&self) -> Result<String, String> {
        self.world.configure("");
        let done = self.world.vm(&["sh", "-c", "exit 6"]).done();
        let left = leaks::find(&self.world);
        match (done.code(), left.is_empty()) {
            (Some(6), true) => Ok("a real machine runs".to_owned()),
            _ => Err(format!("{done:?}, left {left:?}")),
        }
    }
}

fn never_on_the_host(done: &Done) -> Result<(), String> {
    match done.out().contains(HOST_MARK) {
        true => Err(format!("the host's claude ran: {done:?}")),
        false => Ok(()),
    }
}

/// One of our codes with words, or a signal.
fn judged(done: &Done) -> Result<String, String> {
    never_on_the_host(done)?;
    match done.end() {
        (Some(code @ (64 | 70 | 78 | 125 | 126 | 127)), None) => {
            let err = done.err();
            if err.matches("\n  because ").count() > 1 && err.matches("\n  try: ").count() > 1 {
                return Err(format!("more than one failure: {done:?}"));
            }
            let first = err.lines().find(|line| line.contains("vmclaude")).map(str::to_owned);
            first.map(|line| format!("{code}, {line}")).ok_or_else(|| format!("no word of ours: {done:?}"))
        }
        (None, Some(9 | 15)) => Ok("ended by the signal".to_owned()),
        _ => Err(format!("neither a failure of ours nor a signal: {done:?}")),
    }
}
