//! What the container's process finds around it.

use crate::protocol::Boot;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use std::io;
use std::path::PathBuf;

/// What is read-only in every container since 1.2.0.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The kernel's last capability that is looked at.
const LAST: u32 = 40;
/// Open files: what the process has, and what it may raise that to. Less than the supervisor would like.
const FILES: (u64, u64) = (1024, 65_536);

pub(crate) struct Jail {
    name: String,
    capabilities: Vec<u32>,
    read_only: Vec<PathBuf>,
}

impl Jail {
    pub(crate) fn new(boot: &Boot) -> Jail {
        let read_only = READ_ONLY.iter().map(PathBuf::from).chain(boot.read_only.iter().map(PathBuf::from));
        Jail { name: boot.name.clone(), capabilities: boot.capabilities.clone(), read_only: read_only.collect() }
    }

    /// Goes in, just before the process is executed.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let none: Option<&str> = None;
        nix::unistd::setsid()?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, none)?;
        for path in self.read_only.iter().filter(|p| p.exists()) {
            mount(Some(path), path, none, MsFlags::MS_BIND, none)?;
            mount(none, path, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
        }
        nix::unistd::sethostname(&self.name)?;
        setrlimit(Resource::RLIMIT_NOFILE, FILES.0, FILES.1)?;
        for number in (0..=LAST).filter(|n| !self.capabilities.contains(n)) {
            // SAFETY: takes numbers. One that this kernel does not know cannot be dropped and is not there.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
        }
        Ok(())
    }
}
