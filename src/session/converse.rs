//! The host's side of the wire: start, relay, signals, exit.

use super::processes::Processes;
use super::signals::{self, Event};
use super::stdio::{self, Keys};
use super::{relay, tty};
use crate::error::{Context, Failure, Result};
use crate::exit::{Exit, NOT_EXECUTABLE, NOT_FOUND};
use crate::host::Host;
use crate::net::{self, Denials, Upstream};
use crate::plan::Plan;
use crate::plan::network::Mode;
use nix::sys::signal::Signal;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vmclaude_init::wire::mux::{Side, Stream, Wire, greet};
use vmclaude_init::wire::proto::{self, Ended, MAX_TO_HOST, Network, Open, Start, Stdio, ToGuest, ToHost, VERSION};

/// How long a VM may take from its start to its hello. Emulated ones on a busy machine take some seconds.
const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// Everything of a conversation that its events change.
struct Talk {
    wire: Wire,
    to_guest: WriteHalf<Stream>,
    terminal: Option<File>,
    facts: stdio::Facts,
    raw: Option<tty::Raw>,
    keys: Option<WriteHalf<Stream>>,
    outputs: JoinSet<std::io::Result<()>>,
    started: bool,
}

/// Talks to the guest until its command has ended and everything it wrote is written here.
pub(super) async fn run(
    host: &Host,
    plan: &Plan,
    processes: &mut Processes,
    near: UnixStream,
    denials: Denials,
) -> Result<Exit> {
    let mut events = signals::listen()?;
    let wire = tokio::select! {
        wire = connect(near) => wire?,
        signal = deadly(&mut events) => return Ok(Exit::Signal(signal as i32)),
    };
    let terminal = tty::controlling();
    let facts = stdio::facts(host.tty, terminal.as_ref());
    let control = wire.open(&Open::Control).map_err(lost)?;
    let (from_guest, to_guest) = split(control);
    let mut talk =
        Talk { wire, to_guest, terminal, facts, raw: None, keys: None, outputs: JoinSet::new(), started: false };
    let start = start_message(host, plan, &talk)?;
    talk.send(&ToGuest::Start(Box::new(start))).await?;
    talk.open_streams()?;
    let policy = net::Policy::of(plan.network.clone(), Upstream::of(|name| host.var(name)), denials);
    tokio::spawn(serve_guest(talk.wire.clone(), Arc::new(policy)));
    let mut frames = frames(from_guest);
    let ended = loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(ToHost::Exit(ended)) => break ended,
                Some(ToHost::Failed(why)) => {
                    let _ = talk.send(&ToGuest::ExitAck).await;
                    return Err(Failure::new("the guest could not do it").because(why.escape_debug()));
                }
                Some(frame) => talk.hear(frame).await?,
                None => return Err(lost("its wire ended")),
            },
            Some(event) = events.recv() => {
                if let (Event::Child, Some(gone)) = (&event, processes.gone()) {
                    return Err(lost(gone));
                }
                if let Some(exit) = talk.react(event).await? {
                    return Ok(exit);
                }
            }
        }
    };
    talk.finish(&mut events).await;
    exit_of(ended)
}

/// Waits for the guest's hello and starts moving the wire's bytes.
async fn connect(near: UnixStream) -> Result<Wire> {
    near.set_nonblocking(true).what(|| "cannot prepare the wire")?;
    let mut near = tokio::net::UnixStream::from_std(near).what(|| "cannot prepare the wire")?;
    let version = tokio::time::timeout(HELLO_LIMIT, greet(&mut near)).await;
    let version = version.map_err(|_| lost(format!("it did not answer within {} s", HELLO_LIMIT.as_secs())))?;
    match version.map_err(lost)? {
        VERSION => {}
        other => {
            return Err(Failure::new("the image does not fit this vmclaude")
                .because(format!("its supervisor speaks version {other} of the wire, this program version {VERSION}"))
                .next("vmclaude image build"));
        }
    }
    let wire = Wire::new(Side::Host);
    let driven = wire.clone();
    tokio::spawn(async move { driven.drive(near).await });
    Ok(wire)
}

/// Serves what the guest opens until the wire ends.
async fn serve_guest(wire: Wire, policy: Arc<net::Policy>) {
    while let Ok((open, stream)) = wire.accept().await {
        tokio::spawn(net::serve_stream(open, stream, policy.clone()));
    }
}

/// The first signal that ends us while there is no command yet that could handle it.
async fn deadly(events: &mut mpsc::UnboundedReceiver<Event>) -> Signal {
    loop {
        match events.recv().await {
            Some(Event::Pass(Signal::SIGTSTP, _)) => tty::stop_ourselves(),
            Some(Event::Pass(signal, _)) => return signal,
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

fn lost(why: impl std::fmt::Display) -> Failure {
    Failure::new("the virtual machine was lost").because(why)
}

fn start_message(host: &Host, plan: &Plan, talk: &Talk) -> Result<Start> {
    let mut seed = vec![0; 64];
    File::open("/dev/urandom")
        .and_then(|mut f| std::io::Read::read_exact(&mut f, &mut seed))
        .what(|| "cannot read random bytes")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let bytes = |text: &std::ffi::OsStr| text.as_bytes().to_vec();
    Ok(Start {
        argv: plan.argv.iter().map(|a| bytes(a)).collect(),
        env: plan.env.iter().map(|(k, v)| (bytes(k), bytes(v))).collect(),
        cwd: bytes(plan.cwd.as_os_str()),
        user: (plan.user.uid, plan.user.gid),
        umask: host.umask,
        stdio: talk.facts.kinds,
        terminal: talk.terminal.as_ref().filter(|_| talk.facts.terminal).map(tty::size),
        binds: plan.mounts.iter().map(|m| (m.tag.clone(), bytes(m.guest.as_os_str()), m.writable)).collect(),
        links: plan.links.iter().map(|(a, b)| (bytes(a.as_os_str()), bytes(b.as_os_str()))).collect(),
        forwards: plan.network.allow_hosts.iter().map(|a| (a.ip(), a.port())).collect(),
        network: (plan.network.mode != Mode::None).then(|| Network {
            ipv6: net::has_ipv6(),
            datagrams: plan.network.mode == Mode::Open,
            search: net::search_domains(),
        }),
        seed,
        now: (now.as_secs(), now.subsec_nanos()),
    })
}

/// Control frames in a queue, because reading one must not be interrupted half-way. It ends with the wire.
fn frames(mut from: ReadHalf<Stream>) -> mpsc::Receiver<ToHost> {
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = proto::receive(&mut from, MAX_TO_HOST).await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    receive
}

fn exit_of(ended: Ended) -> Result<Exit> {
    match ended {
        Ended::Code(code) => Ok(Exit::Code(code)),
        Ended::Signal(signal) => match signals::number(&signal) {
            Some(number) => Ok(Exit::Signal(number)),
            None => Ok(Exit::Code(128u8.saturating_add(signal.number))),
        },
        Ended::NotFound(name) => {
            Err(Failure::new(format!("{}: command not found in the VM", name.escape_debug())).code(NOT_FOUND))
        }
        Ended::NotExecutable(why) => Err(Failure::new(format!("{}", why.escape_debug())).code(NOT_EXECUTABLE)),
    }
}

impl Talk {
    async fn send(&mut self, frame: &ToGuest) -> Result<()> {
        proto::send(&mut self.to_guest, frame).await.map_err(lost)
    }

    /// One stream for the terminal, one for each of ours that is not one.
    fn open_streams(&mut self) -> Result<()> {
        let own = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().what(|| "cannot use our own streams");
        if let Some(terminal) = self.terminal.as_ref().filter(|_| self.facts.terminal) {
            let (from, to) = split(self.wire.open(&Open::Terminal).map_err(lost)?);
            self.outputs.spawn(relay::receive(from, own(terminal)?));
            self.keys = Some(to);
        }
        let [stdin, stdout, stderr] = self.facts.kinds.map(|kind| kind == Stdio::Pipe);
        if stdin {
            tokio::spawn(relay::send(own(&std::io::stdin())?, self.wire.open(&Open::Stdin).map_err(lost)?));
        }
        if stdout {
            let stream = self.wire.open(&Open::Stdout).map_err(lost)?;
            self.outputs.spawn(relay::receive(stream, own(&std::io::stdout())?));
        }
        if stderr {
            let stream = self.wire.open(&Open::Stderr).map_err(lost)?;
            self.outputs.spawn(relay::receive(stream, own(&std::io::stderr())?));
        }
        Ok(())
    }

    /// Takes the keys if they are ours to take.
    fn take_terminal(&mut self) -> Result<()> {
        let Some(terminal) = self.terminal.as_ref() else { return Ok(()) };
        self.facts.foreground = tty::is_foreground(terminal);
        let keys = self.facts.keys();
        if keys == Keys::Raw && self.raw.is_none() {
            self.raw = Some(tty::Raw::enter(terminal)?);
        }
        if keys == Keys::No {
            return Ok(());
        }
        if let Some(to) = self.keys.take() {
            let from: OwnedFd = terminal.try_clone().what(|| "cannot read the terminal")?.into();
            tokio::spawn(relay::send(from, to));
        }
        Ok(())
    }

    async fn hear(&mut self, frame: ToHost) -> Result<()> {
        match frame {
            ToHost::Started => {
                self.started = true;
                self.take_terminal()
            }
            ToHost::Stopped(signal) => {
                tracing::debug!(?signal, "the command was stopped");
                self.raw = None;
                tty::stop_ourselves();
                self.resume().await
            }
            ToHost::Log(line) => {
                tracing::info!(line, "guest");
                Ok(())
            }
            ToHost::Exit(_) | ToHost::Failed(_) => Ok(()),
        }
    }

    async fn resume(&mut self) -> Result<()> {
        self.take_terminal()?;
        self.resize().await?;
        self.send(&ToGuest::Signal(signals::named(Signal::SIGCONT), true)).await
    }

    async fn resize(&mut self) -> Result<()> {
        match self.terminal.as_ref().filter(|_| self.facts.terminal).map(tty::size) {
            Some(size) => self.send(&ToGuest::Resize(size)).await,
            None => Ok(()),
        }
    }

    /// A signal of ours: passed on, or our own end when there is no command yet.
    async fn react(&mut self, event: Event) -> Result<Option<Exit>> {
        match event {
            Event::Pass(signal, _) if !self.started && signal != Signal::SIGTSTP => {
                Ok(Some(Exit::Signal(signal as i32)))
            }
            Event::Pass(signal, group) => {
                self.send(&ToGuest::Signal(signals::named(signal), group)).await.map(|()| None)
            }
            Event::Resized => self.resize().await.map(|()| None),
            Event::Continued => self.resume().await.map(|()| None),
            Event::Child => Ok(None),
        }
    }

    /// Writes what is still to be written, then lets the guest go. A deadly signal ends a wait for a reader.
    async fn finish(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let outputs = async { while self.outputs.join_next().await.is_some() {} };
        tokio::select! {
            () = outputs => {}
            _ = deadly(events) => {}
        }
        self.raw = None;
        let _ = self.send(&ToGuest::ExitAck).await;
    }
}
