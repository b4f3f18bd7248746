//! The state of a conversation: the terminal, the streams, and what events do to them.

mod streams;
mod terminal;

use super::keys::{self, News, Reader, Want};
use super::line::Line;
use super::signals::{self, Event};
use super::{stdio, tty};
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::profile;
use crate::screen::Clipboard;
use nix::sys::signal::Signal;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;
use tokio::io::WriteHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::proto::{self, Reach, Start, Stdio, ToGuest, ToHost, WinSize};

/// How long a command has to end by itself after its terminal is gone.
pub(super) const FAREWELL: Duration = Duration::from_secs(2);

/// Everything of a conversation that its events change.
pub(super) struct Talk {
    wire: Wire,
    line: Line,
    terminal: Option<File>,
    facts: stdio::Facts,
    raw: Option<tty::Raw>,
    /// Whether our terminal changes what is written to it: while it is not raw.
    cooked: Arc<AtomicBool>,
    clipboard: Clipboard,
    /// Counts the bytes of the guest's terminal that are written to ours.
    shown: Arc<AtomicU64>,
    signal_keys: Option<proto::SignalKeys>,
    /// Where keys go, while nobody reads them yet.
    keys: Option<WriteHalf<Stream>>,
    reader: Option<Reader>,
    /// Which keys the guest wants.
    wanted: proto::Keys,
    news: mpsc::UnboundedSender<News>,
    /// Whether the guest was told that our terminal is gone.
    hung_up: bool,
    /// Each with why not all that the command wrote to stdout is there, where somebody should hear of it.
    outputs: JoinSet<Option<std::io::Error>>,
    /// Lets the terminal's output flow when it is dropped: once our terminal is as the guest's is.
    hold: Option<oneshot::Sender<()>>,
    started: bool,
    /// When the session ends whatever the guest does, because its terminal is gone or somebody stopped it; and by which
    /// signal then.
    deadline: Option<(Instant, Signal)>,
}

impl Talk {
    /// A conversation that has not begun. What comes out of the queue is for [`Talk::learn`].
    pub(super) fn new(wire: Wire, host: &Host, clipboard: Clipboard) -> (Talk, mpsc::UnboundedReceiver<News>) {
        let terminal = tty::controlling();
        let facts = stdio::facts(host.tty, host.closed, terminal.as_ref());
        let (news, queue) = mpsc::unbounded_channel();
        if let Some(terminal) = terminal.as_ref().and_then(|t| t.try_clone().ok()) {
            keys::watch(terminal, news.clone());
        }
        let talk = Talk {
            wire,
            line: Line::default(),
            terminal,
            facts,
            raw: None,
            cooked: Arc::new(AtomicBool::new(true)),
            clipboard,
            shown: Arc::default(),
            signal_keys: Some(proto::SignalKeys::USUAL),
            keys: None,
            reader: None,
            wanted: proto::Keys::Held,
            news,
            hung_up: false,
            outputs: JoinSet::new(),
            hold: None,
            started: false,
            deadline: None,
        };
        (talk, queue)
    }

    /// What stdin, stdout and stderr are in the guest.
    pub(super) fn stdio(&self) -> [Stdio; 3] {
        self.facts.kinds
    }

    /// The size of the guest's terminal, when it has one.
    pub(super) fn size(&self) -> Option<WinSize> {
        self.terminal.as_ref().map(tty::size)
    }

    /// Sends the first control frame: what to run.
    pub(super) async fn begin(&mut self, to: WriteHalf<Stream>, start: Start, limit: Duration) -> Result<()> {
        self.line.begin(to, &ToGuest::Start(Box::new(start)), limit).await
    }

    /// Sends one control frame.
    pub(super) fn send(&self, frame: ToGuest) -> Result<()> {
        self.line.say(frame)
    }

    /// Lets the guest go.
    pub(super) async fn end(&mut self) {
        self.line.end(ToGuest::ExitAck, FAREWELL).await;
    }

    /// What the guest says while its command runs.
    pub(super) async fn hear(&mut self, frame: ToHost) -> Result<()> {
        match frame {
            ToHost::Started => {
                profile::mark("the command runs");
                self.started = true;
                self.take_terminal()?;
                self.hold = None;
                Ok(())
            }
            ToHost::SignalKeys(keys) => {
                self.signal_keys = keys;
                self.follow();
                Ok(())
            }
            ToHost::Keys(wanted) => {
                self.wanted = wanted;
                self.follow();
                match wanted {
                    _ if self.raw.is_none() => {}
                    proto::Keys::All => self.want(Want::All),
                    proto::Keys::Line => self.want(Want::Line),
                    proto::Keys::Held => self.want(Want::Word),
                }
                Ok(())
            }
            ToHost::Shown(bytes) => {
                self.all_shown(bytes).await;
                Ok(())
            }
            ToHost::Stopped(signal) => {
                tracing::debug!(?signal, "the command was stopped");
                self.leave_terminal();
                let before = signals::continued();
                tty::stop_ourselves(signals::stop(&signal));
                // Who was continued hears of it as an event.
                if signals::continued() == before { self.resume() } else { Ok(()) }
            }
            ToHost::Log(line) => {
                tracing::info!(line, "guest");
                Ok(())
            }
            ToHost::Exit(_) | ToHost::Failed(_) | ToHost::OutOfMemory(_) | ToHost::Memory(_) => Ok(()),
            ToHost::NoVolume(_) | ToHost::VolumeErrors(_) | ToHost::NotLocal(..) | ToHost::ProxiesOnly(_) => Ok(()),
        }
    }

    fn resume(&mut self) -> Result<()> {
        self.take_terminal()?;
        self.resize()?;
        self.send(ToGuest::Signal(signals::named(Signal::SIGCONT), Reach::Group))
    }

    fn resize(&mut self) -> Result<()> {
        match self.size() {
            Some(size) => self.send(ToGuest::Resize(size)),
            None => Ok(()),
        }
    }

    /// A signal of ours: passed on, or our own end when there is no command yet.
    pub(super) fn react(&mut self, event: Event) -> Result<Option<Exit>> {
        match event {
            Event::Stop if !self.started => Ok(Some(Exit::Signal(Signal::SIGTERM as i32))),
            Event::Pass(signal, _) if !self.started && signal != Signal::SIGTSTP => {
                Ok(Some(Exit::Signal(signal as i32)))
            }
            Event::Pass(signal, from_terminal) => {
                let gone = signal == Signal::SIGHUP && self.terminal.as_ref().is_some_and(tty::is_gone);
                if gone {
                    self.deadline.get_or_insert((Instant::now() + FAREWELL, signal));
                    self.hang_up()?;
                }
                let reach = if gone { Reach::Group } else { self.reach(signal, from_terminal) };
                self.send(ToGuest::Signal(signals::named(signal), reach)).map(|()| None)
            }
            Event::Stop => self.stop().map(|()| None),
            Event::Resized(by_hand) => {
                self.resize()?;
                if by_hand && self.started {
                    self.send(ToGuest::Signal(signals::named(Signal::SIGWINCH), Reach::Process))?;
                }
                Ok(None)
            }
            Event::Continued => self.resume().map(|()| None),
            Event::Child => Ok(None),
        }
    }

    /// Asks the command to end: first so that it may do it in its own way, and when asked again as a terminal does that goes
    /// away, because shells do not hear the other, and stopped jobs hear none.
    fn stop(&mut self) -> Result<()> {
        if self.deadline.is_none() {
            self.deadline = Some((Instant::now() + 2 * FAREWELL, Signal::SIGTERM));
            return self.send(ToGuest::Signal(signals::named(Signal::SIGTERM), Reach::Process));
        }
        self.send(ToGuest::Signal(signals::named(Signal::SIGHUP), Reach::Group))?;
        self.send(ToGuest::Signal(signals::named(Signal::SIGCONT), Reach::Group))
    }

    /// Waits until a command that should end has had its time, and says by which signal the session then ends; for ever
    /// while nobody wants it to end.
    pub(super) async fn hung_up(&self) -> Signal {
        match self.deadline {
            Some((deadline, signal)) => {
                tokio::time::sleep_until(deadline).await;
                signal
            }
            None => std::future::pending().await,
        }
    }

    /// Whom a signal of ours is for in the guest: as far as it reached here. A key that we took from the terminal
    /// unechoed is pressed again in the guest's.
    fn reach(&self, signal: Signal, from_terminal: bool) -> Reach {
        match (signal, from_terminal) {
            (_, true) if self.raw.is_some() => Reach::Key,
            (_, true) => Reach::Group,
            (_, false) => Reach::Process,
        }
    }

    /// Writes what is still to be written, then lets the guest go. A deadly signal ends a wait for a reader. What comes back is
    /// why not all is there.
    pub(super) async fn finish(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) -> Option<std::io::Error> {
        self.hold = None;
        self.want(Want::Nothing);
        let mut lost = None;
        let outputs = async {
            while let Some(output) = self.outputs.join_next().await {
                lost = output.ok().flatten().or(lost.take());
            }
        };
        tokio::select! {
            () = outputs => {}
            _ = signals::deadly(events) => {}
        }
        self.raw.take().into_iter().for_each(tty::Raw::leave);
        self.end().await;
        lost
    }
}
