//! Makes a template, in a process of its own that nobody waits for.

use super::{VERB, dir, discard, file, is_wanted, path, prune};
use crate::engine::launch::FIRST_FD;
use crate::engine::qemu::{self, Flavor, Life, Machine, SHARE_SOCKET, warm};
use crate::engine::share;
use crate::error::{Context, Failure, Result};
use crate::files;
use crate::host::Host;
use crate::plan::Limits;
use crate::session::child::{self, Handles, Running};
use crate::session::qmp::Control;
use crate::session::record::{self, Facts, Live, Record, write_live};
use crate::session::scratch;
use crate::session::socket;
use crate::share::Config;
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the machine may take until it waits for its host. It runs at the lowest priority.
const LIMIT: Duration = Duration::from_secs(240);
/// Whatever happens, after so many seconds the maker is gone, and all of its processes with it.
const ALARM: u32 = 300;
/// The supervisor opens its wire and then waits on it; what the kernel still has to do by then is soon done. On a busy host that is
/// not as soon, and what was not done is done again by every copy.
const REST: Duration = Duration::from_secs(1);
/// What the machine needs in MiB, with its QEMU: a system that has booted and Claude Code's files are a third of it. Whatever it
/// may grow to as a session's, it ends before it grows.
const NEED: u64 = 512;
/// The most that the state of devices may be.
const MOST: u64 = 64 << 20;

/// What the maker is told, on its stdin.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    machine: Machine,
    limits: Limits,
    flavor: Flavor,
}

/// Starts the maker and does not wait for it. It gets nothing of our environment but what its directories depend on.
///
/// # Errors
/// When it cannot be started.
pub fn make_aside(host: &Host, machine: &Machine, limits: &Limits, flavor: Flavor) -> Result<()> {
    let what = || "cannot start the maker of templates";
    let (read, mut write) = std::io::pipe().what(what)?;
    let kept = |name: &str| name == "HOME" || name.starts_with("XDG_") || name == "VMCLAUDE_LOG";
    let mut command = Command::new(&host.exe);
    command.arg(VERB).env_clear().current_dir("/");
    command.envs(host.env.iter().filter(|(name, _)| name.to_str().is_some_and(kept)));
    command.stdin(read).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: setsid is a system call and nothing else. It keeps the terminal's keys and its end away from the maker.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) };
    command.spawn().what(what)?;
    // A few hundred bytes: the pipe takes them without a reader.
    let order = serde_json::to_vec(&Order { machine: machine.clone(), limits: *limits, flavor }).what(what)?;
    write.write_all(&order).what(what)
}

/// The maker: reads its order, makes that template unless somebody else does or did, and ends.
///
/// # Errors
/// When it could not be made; it will then be tried again a few times.
pub fn make(host: &Host) -> Result<()> {
    let order: Order = serde_json::from_reader(std::io::stdin()).what(|| "an order is expected on stdin")?;
    nix::unistd::alarm::set(ALARM);
    yield_to_others();
    let dir = dir(host);
    files::private_dir(&dir)?;
    let Some(_lock) = files::try_lock(&dir.join("lock"))? else { return Ok(()) };
    let path = path(host, &order.machine, &order.limits, order.flavor)?;
    if !is_wanted(&path) {
        return Ok(());
    }
    prune(&dir);
    let made = save(host, &order, &path);
    if made.is_err() {
        discard(&path);
    }
    made
}

/// Everything else on this machine comes first.
fn yield_to_others() {
    // SAFETY: setpriority takes three numbers. It cannot fail in a way that matters: we then have the usual priority.
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19) };
}

fn save(host: &Host, order: &Order, path: &Path) -> Result<()> {
    let what = || "cannot save a machine";
    let record = Record::create(&host.dirs.runs(), &facts(&order.limits))?;
    let memory = scratch::memory(order.limits.memory)?;
    let disk = scratch::copy(&order.machine.files.scratch, record.dir())?;
    let (control, far_control) = UnixStream::pair().what(what)?;
    let (_wire, far_wire) = UnixStream::pair().what(what)?;
    let handles = Handles {
        wire: Some(far_wire.as_fd()),
        control: Some(far_control.as_fd()),
        memory: Some(memory.as_fd()),
        scratch: Some(disk.as_fd()),
        ..Handles::of(record.dir())
    };
    let program = qemu::program(&order.machine, &order.limits, Life::Template(order.flavor), None);
    let listener = socket::listen(record.dir(), SHARE_SOCKET)?;
    let mut machine = child::start(&program, &handles, "machine.log", Stdio::null())?;
    let share = empty_share(host, &listener, record.dir())?;
    let live = Live { pids: vec![machine.pid(), share.pid()], ..Live::default() };
    write_live(record.dir(), &live).what(what)?;
    drop(listener);
    drop((far_control, far_wire));
    let state = stop_and_read(control).map_err(|e| explain(e, &mut machine, record.dir()))?;
    write(path, &memory, &disk, &state)
}

/// What others see of it while it is made; they start if there is room beside it.
fn facts(limits: &Limits) -> Facts {
    record::facts(Path::new("/"), "template".as_ref(), limits.memory.min(NEED))
}

/// What the machine finds where sessions have their share: the same device, and nothing in it.
fn empty_share(host: &Host, listener: &UnixListener, dir: &Path) -> Result<Running> {
    let what = || "cannot offer the share";
    let handles = Handles { share: Some(listener.as_fd()), ..Handles::of(dir) };
    let (read, mut write) = std::io::pipe().what(what)?;
    let server = child::start(&share::empty(&host.exe), &handles, "share.log", Stdio::from(read))?;
    let config = Config::empty(FIRST_FD, std::process::id())?;
    write.write_all(&serde_json::to_vec(&config).what(what)?).what(what)?;
    Ok(server)
}

/// Lets the machine boot up to its wait for the host, and saves its devices. Its memory and disk stay as they then are.
fn stop_and_read(control: UnixStream) -> Result<Vec<u8>> {
    let mut control = Control::greet(control, LIMIT)?;
    for command in warm::prepare() {
        control.execute(&command)?;
    }
    control.event(warm::OPENED, |data| data["id"] == "wire" && data["open"] == true)?;
    std::thread::sleep(REST);
    let (state, far) = std::io::pipe().what(|| "cannot save a machine")?;
    control.hand_over(&warm::take_pipe(), far.as_fd())?;
    // Ours must be closed, or the state would have no end.
    drop(far);
    let reader = read(state);
    control.execute(&warm::save())?;
    loop {
        let progress = control.execute(&warm::progress())?;
        match progress["status"].as_str() {
            Some("completed") => break,
            Some("failed" | "cancelled") | None => {
                return Err(Failure::new("QEMU did not save the machine").because(progress));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    reader.join().map_err(|_| Failure::new("no state of devices came"))?.what(|| "no state of devices came")
}

/// Reads while QEMU writes, or a full pipe would stop it.
fn read(state: PipeReader) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        state.take(MOST).read_to_end(&mut bytes).map(|_| bytes)
    })
}

/// The file gets its name when it is complete. Killed at any moment, we leave nothing.
fn write(path: &Path, memory: &File, disk: &File, state: &[u8]) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let dir = path.parent().unwrap_or(Path::new("/"));
    let file = scratch::nameless(dir)?;
    file::write(&file, memory, disk, state)?;
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::unistd::linkat(
        nix::fcntl::AT_FDCWD,
        opened.as_str(),
        nix::fcntl::AT_FDCWD,
        path,
        nix::fcntl::AtFlags::AT_SYMLINK_FOLLOW,
    )
    .what(what)?;
    files::sync_dir(dir).what(what)
}

fn explain(failure: Failure, machine: &mut Running, dir: &Path) -> Failure {
    let log = std::fs::read_to_string(dir.join("machine.log")).unwrap_or_default();
    let last = log.lines().last().unwrap_or_default().to_owned();
    machine.ended().into_iter().chain([last]).fold(failure, Failure::because)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::held;

    #[test]
    fn a_session_starts_on_a_small_host_while_a_template_is_made() {
        let state = tempfile::tempdir().expect("dir");
        let runs = state.path().join("run");
        let limits = Limits { cpus: None, memory: 4096 };
        let _record = Record::create(&runs, &facts(&limits)).expect("record");
        let running: Vec<_> = record::seen(&runs).iter().map(held).collect();
        assert_eq!(running.len(), 1);
        // A host of 8 GiB of which half is in use.
        crate::plan::room::check(8 << 10, 4 << 10, &running, limits.memory).expect("there is room");
        assert_eq!(facts(&Limits { cpus: None, memory: 256 }).memory_mib, 256);
    }
}
