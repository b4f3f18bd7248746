//! Network namespaces of a test's own: what happens in them, no other program of this machine sees.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

/// One of them; it is gone with the last thread, program and file that belongs to it.
pub(crate) struct Namespace(File);

impl Namespace {
    /// A new one, in which only loopback is up; `Err` says what it takes.
    pub(crate) fn new() -> Result<Namespace, &'static str> {
        let made = || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|_| "root")?;
            ip("link set lo up").then_some(()).ok_or("ip")?;
            File::open("/proc/thread-self/ns/net").map(Namespace).map_err(|_| "/proc")
        };
        std::thread::spawn(made).join().expect("a thread")
    }

    /// Does this in the namespace: programs and threads that it starts stay there.
    pub(crate) fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let there = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("setns");
            act()
        };
        let done = std::thread::scope(|scope| scope.spawn(there).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` with these words.
    #[track_caller]
    pub(crate) fn ip(&self, words: &str) {
        assert!(self.run(|| ip(words)), "ip {words}");
    }

    /// Joins two of them by a wire, whose ends are both called `name`; `Err`: this kernel cannot.
    pub(crate) fn join(&self, other: &Namespace, name: &str) -> Result<(), &'static str> {
        let there = format!("/proc/{}/fd/{}", std::process::id(), other.0.as_raw_fd());
        let made = self.run(|| ip(&format!("link add {name} type veth peer name {name} netns {there}")));
        made.then_some(()).ok_or("virtual network cards (veth)")?;
        for end in [self, other] {
            end.ip(&format!("link set {name} up"));
        }
        Ok(())
    }
}

fn ip(words: &str) -> bool {
    let path = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";
    Command::new("ip").args(words.split(' ')).env("PATH", path).status().is_ok_and(|status| status.success())
}
