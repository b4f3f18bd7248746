//! The first process of a machine of the double's: as Apple's, it mounts what a container is to see, relays sockets, and starts
//! the container's process as the first of a process namespace, with few capabilities and parts of /proc read-only.
//!
//! The machine itself is prepared by the product's own code for that.
#![allow(dead_code)] // What of the product's files is not needed here.

#[path = "../../../../image/init/src/boot.rs"]
mod boot;
mod jail;
#[path = "../../src/protocol.rs"]
mod protocol;
#[path = "../../../../image/init/src/relay.rs"]
mod relay;
#[path = "../../../../image/init/src/sys.rs"]
mod sys;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use protocol::{Boot, ToGuest, ToHost};
use relay::{Async, pump};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vmclaude_init::wire::mux::{Side, Stream, Wire};
use vmclaude_init::wire::proto::{self, Open, Target};

/// What the image has there, and its entry point.
const SUPERVISOR: &str = "/sbin/vmclaude-init";
const SHARE: &str = "/run/apple-share";
/// The volume, where there is one: the fourth disk.
const VOLUME: &str = "/dev/vdd";

fn main() {
    if let Err(e) = run() {
        sys::log(&format!("the double's guest: {e}"));
    }
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        nix::unistd::pause();
    }
}

fn run() -> io::Result<()> {
    // From the double's own archive; behind the change of the root it is out of reach.
    let supervisor = fs::read("/supervisor")?;
    boot::prepare()?;
    boot::start_processors();
    fs::write(SUPERVISOR, supervisor)?;
    fs::set_permissions(SUPERVISOR, PermissionsExt::from_mode(0o755))?;
    let port = boot::open_wire()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let wire = Wire::new(Side::Guest);
        let port = Async::new(port)?;
        tokio::select! {
            gone = wire.drive(port) => gone,
            done = container(&wire) => done,
        }
    })
}

async fn container(wire: &Wire) -> io::Result<()> {
    let (_, control) = wire.accept().await?;
    let (from_host, mut to_host) = split(control);
    let mut frames = frames(from_host);
    let Some(ToGuest::Boot(boot)) = frames.recv().await else { return Err(io::ErrorKind::InvalidData.into()) };
    if let Err(e) = prepare(&boot, wire) {
        proto::send(&mut to_host, &ToHost::Failed(e.to_string())).await?;
        return Ok(());
    }
    proto::send(&mut to_host, &ToHost::Booted).await?;
    // A client that was killed in between never starts anything: the machine then waits.
    loop {
        match frames.recv().await {
            Some(ToGuest::Start) => break,
            Some(other) => time(&other)?,
            None => return Ok(()),
        }
    }
    let last = match process(wire, &boot, &mut frames).await {
        Ok(code) => ToHost::Exited(code),
        Err(e) => ToHost::Failed(format!("failed to find target executable {}: {e}", boot.argv[0])),
    };
    nix::unistd::sync();
    proto::send(&mut to_host, &last).await?;
    while frames.recv().await.is_some() {}
    Ok(())
}

fn frames(mut from: ReadHalf<Stream>) -> mpsc::Receiver<ToGuest> {
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = proto::receive(&mut from, proto::MAX_TO_GUEST).await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    receive
}

/// Sets the clock, if that is what the frame says.
fn time(frame: &ToGuest) -> io::Result<()> {
    use nix::time::{ClockId, clock_settime};
    let ToGuest::Time(seconds, nanos) = frame else { return Ok(()) };
    let time = nix::sys::time::TimeSpec::new(*seconds as _, i64::from(*nanos));
    Ok(clock_settime(ClockId::CLOCK_REALTIME, time)?)
}

/// Mounts, outermost first, and offers the sockets.
fn prepare(boot: &Boot, wire: &Wire) -> io::Result<()> {
    use nix::mount::MsFlags;
    if !boot.mounts.is_empty() {
        sys::mount_on("vmclaude", Path::new(SHARE), "virtiofs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "")?;
    }
    let mut mounts = boot.mounts.clone();
    mounts.extend(boot.tmpfs.iter().map(|path| (String::new(), path.clone(), false)));
    mounts.sort_by_key(|(_, destination, _)| destination.matches('/').count());
    for (tag, destination, read_only) in &mounts {
        let target = Path::new(destination);
        if tag.is_empty() {
            sys::mount_on("tmpfs", target, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "")?;
            continue;
        }
        let source = format!("{SHARE}/{tag}");
        sys::mount_on(&source, target, "", MsFlags::MS_BIND, "")?;
        if *read_only {
            sys::mount_on("", target, "", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, "")?;
        }
    }
    if let Some(destination) = &boot.volume {
        let why = |e| {
            io::Error::other(format!("failed initial mount source={VOLUME} target={destination} type=ext4 data=: {e}"))
        };
        sys::mount_on(VOLUME, Path::new(destination), "ext4", MsFlags::empty(), "").map_err(why)?;
    }
    for (destination, mode) in &boot.sockets {
        let path = Path::new(destination);
        sys::make_dir(path.parent().unwrap_or(Path::new("/")))?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, PermissionsExt::from_mode(*mode))?;
        tokio::spawn(relay_socket(listener, destination.clone(), wire.clone()));
    }
    Ok(())
}

/// Each connection is a new one on the host.
async fn relay_socket(listener: UnixListener, destination: String, wire: Wire) {
    while let Ok((mut near, _)) = listener.accept().await {
        let Ok(mut far) = wire.open(&Open::Dial(Target::Name(destination.clone(), 0))) else { return };
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    }
}

/// The container's process from its start to its end.
async fn process(wire: &Wire, boot: &Boot, frames: &mut mpsc::Receiver<ToGuest>) -> io::Result<i32> {
    let mut streams = HashMap::new();
    while streams.len() < 3 {
        let (open, stream) = wire.accept().await?;
        streams.insert(format!("{open:?}"), stream);
    }
    let mut children = signal(SignalKind::child())?;
    let mut child = start(boot)?;
    // It is the container's alone from now on, which may unmount it.
    if let Some(volume) = &boot.volume {
        nix::mount::umount2(Path::new(volume), nix::mount::MntFlags::MNT_DETACH)?;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let mut take = |name: &str| streams.remove(name).ok_or(io::ErrorKind::InvalidData);
    let fd = |end: Option<OwnedFd>| end.map(File::from).ok_or(io::ErrorKind::InvalidData);
    tokio::spawn(pump(take("Stdin")?, Async::new(fd(child.stdin.take().map(OwnedFd::from))?)?));
    let out = tokio::spawn(output(fd(child.stdout.take().map(OwnedFd::from))?, take("Stdout")?));
    let err = tokio::spawn(output(fd(child.stderr.take().map(OwnedFd::from))?, take("Stderr")?));
    let code = loop {
        tokio::select! {
            _ = children.recv() => match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => break code,
                Ok(WaitStatus::Signaled(_, signal, _)) => break 128 + signal as i32,
                _ => {}
            },
            frame = frames.recv() => match frame {
                Some(ToGuest::Kill(number)) => {
                    let _ = Signal::try_from(number).map(|signal| kill(pid, signal));
                }
                Some(other) => time(&other)?,
                // The helper on the host is gone, and the machine with it.
                None => return Ok(255),
            },
        }
    };
    let _ = (out.await, err.await);
    Ok(code)
}

async fn output(from: File, to: Stream) -> io::Result<()> {
    let (_, to): (_, WriteHalf<Stream>) = split(to);
    pump(Async::new(from)?, to).await
}

fn start(boot: &Boot) -> io::Result<Child> {
    // For the next child only: it becomes the first process of a new namespace.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)?;
    let mut command = Command::new(&boot.argv[0]);
    command
        .args(&boot.argv[1..])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", "/root").current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let jail = jail::Jail::new(boot);
    // SAFETY: there is one thread, so the child may do whatever it likes.
    unsafe { command.pre_exec(move || jail.enter()) };
    command.spawn()
}
