//! One command over the wire, from the hello to the acknowledged exit.

use crate::carry::Relays;
use crate::command::{self, NotStarted, Running};
use crate::doors;
use crate::notice::Repeater;
use crate::rehearsal::Rehearsal;
use crate::runner::Runner;
use crate::sys::{self, Change};
use crate::{Place, Prepared};
use crate::{carry, keys, local, memory, ports, power, setup, signals, slot};
use nix::sys::signal::Signal;
use std::collections::HashMap;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use vmclaude_init::wire::mux::{Side, Stream, Wire, answer};
use vmclaude_init::wire::proto::{self, Ended, MAX_TO_GUEST, Open, Start, ToGuest, ToHost};

/// What was opened before the host had said anything.
pub(crate) struct Opened {
    doors: doors::Listening,
    repeater: Repeater,
    children: tokio::signal::unix::Signal,
    prepared: Prepared,
    runner: Runner,
}

impl Opened {
    /// Opens it.
    pub(crate) fn new(prepared: Prepared, runner: Runner) -> io::Result<Opened> {
        let (doors, children) = (doors::listen()?, signal(SignalKind::child())?);
        Ok(Opened { doors, repeater: Repeater::new(), children, prepared, runner })
    }
}

/// How often the terminal's modes are looked at while nothing is written to it. Programs that change them mostly write.
const LOOK: Duration = Duration::from_millis(200);

/// Speaks the wire until the exit is acknowledged or the host is gone.
pub(crate) async fn serve(
    place: Place,
    mut port: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut opened: Opened,
    rehearsal: Rehearsal,
) -> io::Result<()> {
    // Whether the versions fit is for the host to say: it can explain it to somebody.
    answer(&mut port).await?;
    if opened.prepared.share.take().is_some_and(slot::Emptied::fill) {
        setup::look_at_port()?;
    }
    // Behind it, so that no other processor works meanwhile: see `slot::Emptied::fill`.
    rehearsal.begin();
    let wire = Wire::new(Side::Guest);
    // A task of its own, so that bytes that come and go wake nothing else here.
    let driven = wire.clone();
    let driver = tokio::spawn(async move { driven.drive(port).await });
    tokio::select! {
        gone = driver => gone?,
        done = session(place, &wire, opened) => done,
    }
}

async fn session(place: Place, wire: &Wire, opened: Opened) -> io::Result<()> {
    let (Open::Control, control) = wire.accept().await? else { return Err(unexpected("a stream before control")) };
    let (from_host, mut to_host) = split(control);
    let mut frames = frames(from_host);
    let Some(ToGuest::Start(start)) = frames.recv().await else { return Err(unexpected("no start")) };
    let last = match run(place, wire, &start, opened, &mut frames, &mut to_host).await {
        Ok(ended) => ToHost::Exit(ended),
        Err(e) if local::is_damaged(&e) => ToHost::NoVolume(e.to_string()),
        Err(e) => ToHost::Failed(e.to_string()),
    };
    if let Some(errors) = start.local.as_ref().and_then(|_| local::errors()) {
        proto::send(&mut to_host, &errors).await?;
    }
    setup::settle(place, &start);
    proto::send(&mut to_host, &last).await?;
    while let Some(frame) = frames.recv().await {
        if frame == ToGuest::ExitAck {
            break;
        }
    }
    Ok(())
}

/// Control frames in a queue, because reading one must not be interrupted half-way.
fn frames(mut from: ReadHalf<Stream>) -> mpsc::Receiver<ToGuest> {
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = proto::receive(&mut from, MAX_TO_GUEST).await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    receive
}

async fn run(
    place: Place,
    wire: &Wire,
    start: &Start,
    opened: Opened,
    frames: &mut mpsc::Receiver<ToGuest>,
    to_host: &mut WriteHalf<Stream>,
) -> io::Result<Ended> {
    let Opened { doors, repeater, mut children, runner, prepared } = opened;
    let Prepared { network, memory, known, .. } = prepared;
    setup::make_unique(place, start)?;
    setup::apply(place, start, known)?;
    for news in local::prepare(place, start)? {
        proto::send(to_host, &news).await?;
    }
    memory::offer(memory, wire, to_host).await?;
    if let Some(why) = doors::open(wire, start, doors, network)? {
        proto::send(to_host, &ToHost::ProxiesOnly(why)).await?;
    }
    let streams = streams(wire, start).await?;
    tokio::spawn(ports::serve(wire.clone(), repeater));
    let mut running = match command::start(place, runner, start) {
        Ok(running) => running,
        Err(NotStarted::Ended(ended)) => return Ok(ended),
        Err(NotStarted::Failed(e)) => return Err(e),
    };
    let spoke = Arc::new(Notify::new());
    let mut watch = keys::Watch::new();
    let mut relays = carry::start(&mut running, streams, &spoke, &watch)?;
    proto::send(to_host, &ToHost::Started).await?;
    let ended = loop {
        if let Some(terminal) = &running.terminal {
            for news in watch.news(terminal, running.held.as_ref(), running.pid) {
                proto::send(to_host, &news).await?;
            }
        }
        tokio::select! {
            () = spoke.notified() => {}
            () = sleep_until(watch.next_look().unwrap_or_else(|| Instant::now() + LOOK)), if running.terminal.is_some() => {}
            _ = children.recv() => {
                if let Some(ended) = reap(&running, to_host, &watch).await? {
                    break ended;
                }
            }
            frame = frames.recv() => match frame {
                Some(ToGuest::HungUp) => hang_up(&mut running, &relays),
                frame => obey(place, frame, &running, wire, &mut watch)?,
            },
        }
    };
    let killed = sys::oom_kills();
    if killed > 0 {
        proto::send(to_host, &ToHost::OutOfMemory(killed)).await?;
    }
    power::end_everybody();
    drop(running.held.take());
    while relays.outputs.join_next().await.is_some() {}
    Ok(ended)
}

/// The streams that the host opens for this command, by what they are.
async fn streams(wire: &Wire, start: &Start) -> io::Result<HashMap<&'static str, Stream>> {
    let mut wanted = start.stdio.iter().filter(|s| **s == proto::Stdio::Pipe).count();
    wanted += usize::from(start.terminal.is_some());
    let mut streams = HashMap::new();
    while streams.len() < wanted {
        let (open, stream) = wire.accept().await?;
        let name = match open {
            Open::Terminal => "terminal",
            Open::Stdin => "stdin",
            Open::Stdout => "stdout",
            Open::Stderr => "stderr",
            _ => return Err(unexpected("a stream of the wrong kind")),
        };
        streams.insert(name, stream);
    }
    Ok(streams)
}

/// Reaps whoever died; `Some` when it was the command.
async fn reap(running: &Running, to_host: &mut WriteHalf<Stream>, watch: &keys::Watch) -> io::Result<Option<Ended>> {
    let mut ended = None;
    while let Some((pid, change)) = sys::next_change() {
        match change {
            _ if pid != running.pid => {}
            Change::Exited(code) => ended = Some(Ended::Code(code)),
            Change::Killed(number) => ended = Some(Ended::Signal(signals::named(number))),
            Change::Stopped(number) => {
                if let Some(terminal) = &running.terminal {
                    proto::send(to_host, &ToHost::Shown(watch.all_shown(terminal).await)).await?;
                }
                proto::send(to_host, &ToHost::Stopped(signals::named(number))).await?;
            }
        }
    }
    Ok(ended)
}

/// Closes our ends of the terminal, all of them: to the kernel this is what it is when a window is closed. Its signal is for us,
/// who ignore it: the host sends those that are for the command.
fn hang_up(running: &mut Running, relays: &Relays) {
    running.terminal = None;
    relays.terminal.iter().for_each(AbortHandle::abort);
}

fn obey(
    place: Place,
    frame: Option<ToGuest>,
    running: &Running,
    wire: &Wire,
    watch: &mut keys::Watch,
) -> io::Result<()> {
    match frame {
        Some(ToGuest::Signal(signal, reach)) => {
            if let Ok(signal) = Signal::from_str(&signal.name) {
                signals::deliver(running, signal, reach);
            }
            Ok(())
        }
        Some(ToGuest::Resize(size)) => {
            if let Some(terminal) = &running.terminal {
                crate::sys::set_size(terminal, size)?;
            }
            Ok(())
        }
        Some(ToGuest::Clock(seconds, nanos)) => {
            if let Err(e) = setup::set_clock(seconds, nanos) {
                sys::log(&format!("the clock: {e}"));
            }
            Ok(())
        }
        // A container's disk is the system's.
        Some(ToGuest::DiskFull(_)) if place == Place::Container => Ok(()),
        Some(ToGuest::DiskFull(full)) => {
            if let Err(e) = setup::hold_disk(full) {
                sys::log(&format!("the disk: {e}"));
            }
            Ok(())
        }
        Some(ToGuest::UseMemory) => {
            wire.use_memory();
            Ok(())
        }
        Some(ToGuest::KeysWait(behind)) => {
            watch.keys_wait(behind);
            Ok(())
        }
        Some(ToGuest::Start(_) | ToGuest::HungUp | ToGuest::ExitAck) => Err(unexpected("a frame out of turn")),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
