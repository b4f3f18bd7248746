//! A container's helper: it has the machine, and lives until that ends, whatever becomes of the client.

use crate::machine::{self, Machine};
use crate::protocol::{Boot, ToGuest, ToHost};
use crate::state::{Entity, State, lock, now};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{UnixStream, unix::pipe};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use vmclaude_init::wire::mux::{Side, Stream, Wire};
use vmclaude_init::wire::proto::{self, Open, Target};

/// The hidden verb.
pub(crate) const VERB: &str = "__runtime";

/// How long a machine may take to boot.
const BOOT: Duration = Duration::from_secs(120);
/// How long a process has to end after it was asked to stop.
const STOP: Duration = Duration::from_secs(5);

/// In a container's directory while its machine stands still.
const ASLEEP: &str = "asleep";

/// How long output may take to be taken after the end.
const DRAIN: Duration = Duration::from_secs(3);

/// `__runtime NAME NEWS-FD GO-FD`, with the container's streams as its own.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let state = State::open();
    let name = &words[0];
    let number = |n: usize| words[n].parse::<i32>().expect("a descriptor");
    // SAFETY: the client made these two for us alone.
    let (news, go) = unsafe { (File::from_raw_fd(number(1)), OwnedFd::from_raw_fd(number(2))) };
    let dir = state.container(name);
    let Ok(_lock) = lock(&dir) else { return ExitCode::from(1) };
    let _ = fs::write(dir.join("pid"), std::process::id().to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(live(&state, name, news, go));
    if let Err(e) = outcome {
        let _ = fs::write(dir.join("error"), e.to_string());
    }
    end(&state, name);
    ExitCode::SUCCESS
}

/// The machine is gone; the container is removed or stopped, after a time in between.
fn end(state: &State, name: &str) {
    let stopping = state.double().stopping;
    if stopping > 0 {
        state.set_entity(name, &Entity { state: "stopping".into(), started: None });
        std::thread::sleep(Duration::from_millis(stopping));
    }
    match state.config(name).is_some_and(|c| c["autoRemove"] == true) {
        true => drop(state.remove(name)),
        false => state.set_entity(name, &Entity { state: "stopped".into(), started: None }),
    }
}

/// The configuration as the guest is told it, and the sources of its shares and sockets.
struct Container {
    boot: Boot,
    shares: Vec<(String, PathBuf, bool)>,
    sockets: Vec<(String, PathBuf)>,
    volume: Option<PathBuf>,
    memory: u64,
}

fn read(state: &State, name: &str) -> io::Result<Container> {
    let config = state.config(name).ok_or(io::ErrorKind::NotFound)?;
    let double = state.double();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let is_socket = list(&config["double"]["sockets"]);
    let mut made = Container {
        boot: Boot {
            name: name.to_owned(),
            mounts: Vec::new(),
            volume: None,
            sockets: Vec::new(),
            tmpfs: Vec::new(),
            argv: [vec![text(&config["initProcess"]["executable"])], list(&config["initProcess"]["arguments"])]
                .concat(),
            capabilities: capabilities(&list(&config["capAdd"]), &list(&config["capDrop"])),
            read_only: list(&config["readonlyPaths"]),
        },
        shares: Vec::new(),
        sockets: Vec::new(),
        volume: None,
        memory: config["resources"]["memoryInBytes"].as_u64().unwrap_or(1 << 30),
    };
    for (n, mount) in config["mounts"].as_array().into_iter().flatten().enumerate() {
        let (destination, tag) = (text(&mount["destination"]), format!("share{n}"));
        let source = PathBuf::from(text(&mount["source"]));
        if mount["type"].get("tmpfs").is_some() {
            made.boot.tmpfs.push(destination);
        } else if mount["type"].get("volume").is_some() {
            if made.volume.replace(source).is_some() {
                return Err(io::Error::other("the double's machines have one volume"));
            }
            made.boot.volume = Some(destination);
        } else if is_socket.contains(&destination) {
            // Since 1.1.0 the guest's socket has the mode of the host's.
            let mode = fs::metadata(&source).map_or(0o600, |m| m.permissions().mode() & 0o777);
            made.boot.sockets.push((destination.clone(), mode));
            made.sockets.push((destination, source));
        } else if double.drop_mount.as_deref() != Some(&destination) {
            let read_only = list(&mount["options"]).iter().any(|o| o == "ro");
            made.boot.mounts.push((tag.clone(), destination, read_only));
            // Links are followed here, once.
            made.shares.push((tag, source.canonicalize()?, read_only));
        }
    }
    Ok(made)
}

/// Numbers of what is kept: the defaults, with what was added, without what was dropped.
fn capabilities(add: &[String], drop: &[String]) -> Vec<u32> {
    let spec: Value = serde_json::from_str(include_str!("../cli.json")).expect("cli.json is ours");
    let names = |key: &str| spec[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    let defaults = names("default_capabilities");
    let has = |list: &[String], name: &str| list.iter().any(|n| n == name || n == "ALL");
    let kept = |name: &str| (defaults.contains(&name) || has(add, name)) && !has(drop, name);
    (0..).zip(names("capabilities")).filter(|(_, name)| kept(name)).map(|(n, _)| n).collect()
}

async fn live(state: &State, name: &str, mut news: File, go: OwnedFd) -> io::Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut force = signal(SignalKind::user_defined1())?;
    let mut sleep = signal(SignalKind::user_defined2())?;
    let mut wake = signal(SignalKind::from_raw(libc::SIGCONT))?;
    let mut clock = tokio::time::interval(Duration::from_secs(state.double().set_clock));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    clock.reset();
    let made = read(state, name)?;
    let dir = state.container(name);
    let booting = machine::start(state, &dir, made.memory, &made.shares, made.volume.as_deref());
    let mut machine = match booting {
        Ok(machine) => machine,
        Err(e) => {
            let _ = writeln!(news, "failed to bootstrap container {name}: {e}");
            return Err(e);
        }
    };
    let relays = if state.double().relay { made.sockets.clone() } else { Vec::new() };
    let wire = connect(&mut machine, relays)?;
    let (from_guest, mut to_guest) = split(wire.open(&Open::Control)?);
    let mut frames = frames(from_guest);
    proto::send(&mut to_guest, &ToGuest::Boot(made.boot)).await?;
    let booted = tokio::select! {
        frame = tokio::time::timeout(BOOT, frames.recv()) => frame.ok().flatten(),
        _ = force.recv() => None,
    };
    if booted != Some(ToHost::Booted) {
        let _ = writeln!(news, "the machine did not boot: {booted:?}");
        return Ok(());
    }
    state.set_entity(name, &Entity { state: "running".into(), started: Some(now()) });
    let _ = writeln!(news, "booted");
    tokio::select! {
        started = started(go) => if !started {
            // The client is gone, and nobody starts the process: the machine stays as it is.
            let _ = force.recv().await;
            return Ok(());
        },
        _ = force.recv() => return Ok(()),
    }
    proto::send(&mut to_guest, &ToGuest::Start).await?;
    let outputs = streams(&wire, &dir)?;
    let mut asked = None;
    let code = loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(ToHost::Exited(code)) => break code,
                Some(ToHost::Failed(why)) => {
                    let _ = writeln!(news, "{why}");
                    return Ok(());
                }
                Some(ToHost::Booted) => {}
                None => break 255,
            },
            _ = stop.recv() => {
                proto::send(&mut to_guest, &ToGuest::Kill(libc::SIGTERM)).await?;
                asked = Some(tokio::time::Instant::now() + STOP);
            }
            () = until(asked) => break 137,
            _ = force.recv() => break 137,
            _ = clock.tick() => proto::send(&mut to_guest, &time()).await?,
            // Whoever plays a host that sleeps says so first, and then stops every process.
            _ = sleep.recv() => {
                machine.sleep()?;
                fs::write(dir.join(ASLEEP), "")?;
            }
            _ = wake.recv() => {
                machine.wake()?;
                let _ = fs::remove_file(dir.join(ASLEEP));
            }
        }
    };
    // What the guest had said before is on its way to the client's pipes, unless nobody takes it.
    let drained = async {
        for output in outputs {
            let _ = output.await;
        }
    };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    let _ = writeln!(news, "exit {code}");
    Ok(())
}

/// What time it is, for the guest.
fn time() -> ToGuest {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    ToGuest::Time(now.as_secs(), now.subsec_nanos())
}

async fn until(when: Option<tokio::time::Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Whether the client asked for the start of the process before it went away.
async fn started(go: OwnedFd) -> bool {
    let Ok(mut go) = pipe::Receiver::from_owned_fd(go) else { return false };
    let mut word = [0; 6];
    go.read_exact(&mut word).await.is_ok()
}

fn connect(machine: &mut Machine, sockets: Vec<(String, PathBuf)>) -> io::Result<Wire> {
    let near = machine.wire.take().ok_or(io::ErrorKind::NotConnected)?;
    near.set_nonblocking(true)?;
    let near = UnixStream::from_std(near)?;
    let wire = Wire::new(Side::Host);
    let driven = wire.clone();
    tokio::spawn(async move { driven.drive(near).await });
    let accepting = wire.clone();
    tokio::spawn(async move {
        while let Ok((open, stream)) = accepting.accept().await {
            let Open::Dial(Target::Name(destination, _)) = open else { continue };
            let source = sockets.iter().find(|(d, _)| *d == destination).map(|(_, s)| s.clone());
            tokio::spawn(relay(source, stream));
        }
    });
    Ok(wire)
}

/// Connects to the host's socket anew for each of the guest's connections.
async fn relay(source: Option<PathBuf>, mut stream: Stream) {
    let Some(source) = source else { return };
    if let Ok(mut near) = UnixStream::connect(source).await {
        let _ = tokio::io::copy_bidirectional(&mut near, &mut stream).await;
    }
}

fn frames(mut from: ReadHalf<Stream>) -> mpsc::Receiver<ToHost> {
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = proto::receive(&mut from, proto::MAX_TO_HOST).await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    receive
}

/// The container's streams; what it says is also written to its log, for ever.
fn streams(wire: &Wire, dir: &std::path::Path) -> io::Result<Vec<JoinHandle<()>>> {
    let mut outputs = Vec::new();
    let stdin = pipe::Receiver::from_owned_fd(own(0)?)?;
    tokio::spawn(feed(stdin, wire.open(&Open::Stdin)?));
    for (number, open) in [(1, Open::Stdout), (2, Open::Stderr)] {
        let to = pipe::Sender::from_owned_fd(own(number)?)?;
        let log = File::options().create(true).append(true).open(dir.join("stdio.log"))?;
        let kept = (number == 1).then(|| File::options().create(true).append(true).open(dir.join("../../stdout.log")));
        outputs.push(tokio::spawn(drain(wire.open(&open)?, to, log, kept.transpose()?)));
    }
    Ok(outputs)
}

/// One of our streams, and nothing at its old number: its other end sees the end of what we hold.
fn own(number: i32) -> io::Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: the first three descriptors are open, and nothing owns them.
    let moved = nix::errno::Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: as above.
    nix::errno::Errno::result(unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), number) })?;
    // SAFETY: made just now.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

async fn feed(mut from: pipe::Receiver, to: Stream) -> io::Result<()> {
    let (_, mut to): (_, WriteHalf<Stream>) = split(to);
    let mut page = vec![0; 16 << 10];
    loop {
        match from.read(&mut page).await? {
            0 => return to.shutdown().await,
            n => to.write_all(&page[..n]).await?,
        }
    }
}

async fn drain(from: Stream, to: pipe::Sender, mut log: File, mut kept: Option<File>) {
    let (mut from, _) = split(from);
    let mut to = Some(to);
    let mut page = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut page).await {
        let _ = log.write_all(&page[..n]);
        let _ = kept.as_mut().map(|k| k.write_all(&page[..n]));
        // A client that is gone reads no more; the log goes on.
        if let Some(writer) = &mut to
            && writer.write_all(&page[..n]).await.is_err()
        {
            to = None;
        }
    }
}
