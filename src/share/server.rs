//! The process: it reads its configuration, locks itself in, and serves until QEMU hangs up.
//!
//! There are two processes. The one that was started leaves the host's namespaces and then only waits, without
//! descriptors and capabilities; its child is the first process of the new namespace and does the work. Each dies with
//! its parent by SIGKILL, the one signal that the first process of a namespace obeys.

use super::bounded::Bounded;
use super::events::{self, Ghosts};
use super::guard::Guard;
use super::nodes::Tag;
use super::places::Places;
use super::queues::{DUE, Memory, Queues};
use super::sandbox::{self, Reach};
use super::{Config, VERB};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getegid, geteuid, getppid};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::passthrough::{self, CachePolicy, InodeFileHandlesMode, PassthroughFs};
use virtiofsd::seccomp::{SeccompAction, enable_seccomp};
use virtiofsd::soft_idmap::cmdline::IdMap;
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::EventSet;

/// How long the guest may believe what it was told. Changes on the host show after this.
const FRESH: Duration = Duration::from_secs(1);
/// Descriptors that the guest's files may not use up: 509 slots of guest memory, queues, and our own.
const OWN_FILES: u64 = 700;
/// How many of the guest's files are kept open at most, where the limit allows more: each costs memory of the host's kernel.
const MOST_FILES: u64 = 32 << 10;
/// Descriptors that a single request may need besides.
const SPARE_FILES: u64 = 16;
/// What root needs to be root to the files of everybody, and no more: neither devices nor set-id nor mounts.
const ROOTS: [&str; 2] = ["DAC_OVERRIDE", "FOWNER"];
/// Every user or group id but the last, which means "none".
const ALL: u32 = u32::MAX;
/// What the kernel shows for ids that a user namespace does not know.
const UNKNOWN_ID: u32 = 65534;

/// Becomes the share server of the configuration on stdin.
///
/// # Errors
/// When the configuration makes no sense or any step of locking in fails: then nothing was shared.
pub fn serve() -> Result<Exit> {
    let config = read_config(std::io::stdin().lock())?;
    die_with(config.parent)?;
    ignore_the_terminal()?;
    let files = raise_file_limit()?;
    forget_streams()?;
    std::env::set_current_dir("/").what(|| "cannot leave the current directory")?;
    let reach = sandbox::leave_namespaces()?;
    let (alive, life) = nix::unistd::pipe().what(|| "cannot make a pipe")?;
    // SAFETY: there is one thread so far, so the child may do whatever it likes.
    match unsafe { fork() }.what(|| "cannot start the share server")? {
        ForkResult::Parent { child } => {
            drop(alive);
            sandbox::close_all_but(&[life.as_raw_fd()])?;
            sandbox::drop_capabilities(&[])?;
            wait(child)
        }
        ForkResult::Child => {
            drop(life);
            die_with_pipe(&alive)?;
            drop(alive);
            work(&config, reach, files)
        }
    }
}

fn read_config(from: impl Read) -> Result<Config> {
    let what = || format!("`vmclaude {VERB}` is how vmclaude starts its share server");
    let config: Config = serde_json::from_reader(from.take(1 << 20)).map_err(|e| Failure::usage(what()).because(e))?;
    config.check()?;
    Ok(config)
}

/// Ties this process to the one that started it.
fn die_with(parent: u32) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).what(|| "cannot follow the parent")?;
    // It may have gone before that.
    if getppid().as_raw().cast_unsigned() == parent {
        return Ok(());
    }
    Err(Failure::new("the share server is not needed any more").because(format!("process {parent} has ended")))
}

/// The same where process ids tell nothing: the other end of `alive` closes with the parent.
fn die_with_pipe(alive: &OwnedFd) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).what(|| "cannot follow the parent")?;
    match poll(&mut [PollFd::new(alive.as_fd(), PollFlags::empty())], PollTimeout::ZERO) {
        Ok(0) => Ok(()),
        _ => Err(Failure::new("the share server is not needed any more").because("its parent has ended")),
    }
}

/// A Ctrl-C or a closed terminal is for the guest, and the session says when the server ends.
fn ignore_the_terminal() -> Result<()> {
    for sig in [Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        // SAFETY: ignoring a signal installs no code that could run at a bad time.
        unsafe { signal(sig, SigHandler::SigIgn) }.what(|| format!("cannot ignore {sig}"))?;
    }
    Ok(())
}

/// Somebody may wait for the end of what stdin and stdout were.
fn forget_streams() -> Result<()> {
    let what = || "cannot open /dev/null";
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").what(what)?;
    nix::unistd::dup2_stdin(&null).and_then(|()| nix::unistd::dup2_stdout(&null)).what(what)
}

/// Files that stay open are found again faster, so as many as can be had.
fn raise_file_limit() -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).what(|| "cannot read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).what(|| "cannot raise the limit of open files")?;
    match hard.checked_sub(OWN_FILES) {
        Some(files) if files >= 128 => Ok(files),
        _ => Err(Failure::new("cannot share files")
            .because(format!("only {hard} may be open at once"))
            .next("ulimit -Hn")),
    }
}

/// Waits for the child and ends as it did.
fn wait(child: Pid) -> Result<Exit> {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Exit::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            Ok(WaitStatus::Signaled(_, sig, _)) => {
                let why = if sig == Signal::SIGSYS { " (a forbidden system call)" } else { "" };
                return Err(Failure::new("the share server was lost").because(format!("it died of {sig}{why}")));
            }
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(e) => return Err(Failure::new("cannot wait for the share server").because(e)),
        }
    }
}

fn work(config: &Config, reach: Reach, files: u64) -> Result<Exit> {
    let proc_self_fd = sandbox::enter(&config.mounts)?;
    let events = config.events.into_iter();
    let keep: Vec<i32> = events.chain([config.listener, proc_self_fd.as_raw_fd()]).collect();
    sandbox::close_all_but(&keep)?;
    // SAFETY: the descriptor was inherited for this, is open (or the first accept says that it is not), and is ours alone.
    let listener = unsafe { OwnedFd::from_raw_fd(config.listener) };
    sandbox::drop_capabilities(if reach == Reach::Everyone { &ROOTS } else { &[] })?;
    enable_seccomp(SeccompAction::Kill, false).what(|| "cannot restrict system calls")?;
    let inner = PassthroughFs::new(settings(config, reach, files, proc_self_fd)).what(|| "cannot open the share")?;
    let tag = |m: &super::Mount| Tag { writable: m.writable, coherent: m.coherent };
    let tags = config.mounts.iter().map(|m| (m.tag.clone().into_bytes(), tag(m))).collect();
    let root = File::open("/").what(|| "cannot open the share")?;
    let most = usize::try_from(files.min(MOST_FILES) - SPARE_FILES).unwrap_or(usize::MAX);
    let places = Places::new(config.protected.iter().map(|p| (p.tag.as_bytes(), p.path.as_slice(), p.exact)));
    let guard = Arc::new(Guard::new(Bounded::new(inner, root, most), tags, places));
    // SAFETY: as for the listener.
    let control = config.events.map(|fd| unsafe { File::from_raw_fd(fd) });
    let events = control.map(|control| events::serve(&guard, control)).transpose().what(|| "cannot tell of events")?;
    answer(Ghosts::new(guard, events), UnixListener::from(listener).into())?;
    Ok(Exit::OK)
}

/// How the share looks from the guest.
fn settings(config: &Config, reach: Reach, files: u64, proc_self_fd: File) -> passthrough::Config {
    passthrough::Config {
        entry_timeout: FRESH,
        attr_timeout: FRESH,
        cache_policy: CachePolicy::Auto,
        writeback: false,
        root_dir: "/".to_string(),
        proc_sfd_rawfd: Some(proc_self_fd),
        // Files of different file systems may have equal inode numbers; each gets a device number of its own.
        announce_submounts: true,
        inode_file_handles: InodeFileHandlesMode::Never,
        // What a list says about a file is not believed, so it would only be forgotten again, file by file.
        readdirplus: false,
        uid_map: Some(ids(geteuid().as_raw(), config.guest_uid, reach, false)),
        gid_map: Some(ids(getegid().as_raw(), config.guest_gid, reach, true)),
        guest_fd_limit: files,
        ..passthrough::Config::default()
    }
}

/// How ids are translated. Whoever acts in the guest, its root included, is the one user of the host.
///
/// Towards the guest, that user's files are the guest user's, and files of others keep their ids: what the guest's user
/// may not write there, the host would refuse as well. Two exceptions, in which the host allows more than the ids say:
/// real root may write everybody's files, so they all look like its own; and groups that the namespace does not know may
/// be the user's supplementary ones, so they look like its group, and the host decides.
fn ids(host: u32, guest: u32, reach: Reach, groups: bool) -> Vec<IdMap> {
    let inward = IdMap::SquashGuest { from_guest: 0, to_host: host, count: ALL };
    if reach == Reach::Everyone {
        return vec![inward, IdMap::SquashHost { from_host: 0, to_guest: guest, count: ALL }];
    }
    let mut map = vec![inward, IdMap::Host { from_host: host, to_guest: guest, count: 1 }];
    if groups && host != UNKNOWN_ID {
        map.push(IdMap::Host { from_host: UNKNOWN_ID, to_guest: guest, count: 1 });
    }
    map
}

/// Serves one connection, until it is closed.
fn answer(fs: Ghosts<PassthroughFs>, mut listener: Listener) -> Result<()> {
    let what = || "cannot serve the share";
    let (queues, due) = Queues::new(fs).what(what)?;
    let memory = Memory::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new("share".to_string(), Arc::new(queues), memory).what(what)?;
    for worker in daemon.get_epoll_handlers() {
        worker.register_listener(due.as_raw_fd(), EventSet::IN, DUE.into()).what(what)?;
    }
    daemon.start(&mut listener).what(what)?;
    drop(listener);
    match daemon.wait() {
        Ok(()) | Err(vhost_user_backend::Error::HandleRequest(vhost::vhost_user::Error::Disconnected)) => Ok(()),
        Err(e) => Err(Failure::new("the share server lost QEMU").because(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use virtiofsd::soft_idmap::{GuestGid, HostGid, Id, IdMap as Table};

    /// Which host ids the guest's 0, 1000 and 4000 become, and which guest ids the host's 0, 1500 and 65534 become.
    fn translated(host: u32, guest: u32, reach: Reach) -> ([u32; 3], [u32; 3]) {
        let table = Table::<GuestGid, HostGid>::try_from(ids(host, guest, reach, true)).expect("no overlaps");
        let inward = |id: u32| table.map_guest(id.into()).expect("mapped").into_inner();
        let outward = |id: u32| table.map_host(id.into()).expect("mapped").into_inner();
        ([0, 1000, 4000].map(inward), [0, 1500, 65534].map(outward))
    }

    #[test]
    fn everybody_in_the_guest_is_the_one_user_of_the_host() {
        assert_eq!(translated(1500, 1500, Reach::User), ([1500; 3], [0, 1500, 1500]));
        assert_eq!(translated(1500, 1000, Reach::User), ([1500; 3], [0, 1000, 1000]));
        assert_eq!(translated(0, 1000, Reach::User), ([0; 3], [1000, 1500, 1000]));
        assert_eq!(translated(UNKNOWN_ID, 1000, Reach::User), ([UNKNOWN_ID; 3], [0, 1500, 1000]));
    }

    #[test]
    fn to_real_root_every_file_is_its_own() {
        assert_eq!(translated(0, 1000, Reach::Everyone), ([0; 3], [1000; 3]));
    }
}
