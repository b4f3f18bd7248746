//! Where others of the same user ask something of a running session: a socket in its private directory. One line of JSON
//! is the question, one is the answer.

use super::ports::Ports;
use super::record::LOCK;
use super::signals::Event;
use super::socket;
use super::talk;
use crate::error::{Context, Failure, Result};
use crate::plan::ports::Forward;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// The socket's name.
const NAME: &str = "desk.sock";
/// The longest question, and the longest answer.
const LONGEST: u64 = 8 << 10;
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before the desk opens again after it could not.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a session that was asked to end may take, before it is killed.
const FAREWELL: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Question {
    /// To end, as if its terminal were closed.
    Stop,
    /// To open a port here that leads into the guest.
    Forward(Forward),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// It is done, or will be.
    Done,
    /// It cannot be done.
    Failed {
        /// What.
        what: String,
        /// Why.
        because: Vec<String>,
        /// What to type.
        next: Option<String>,
    },
}

/// The session's side.
#[derive(Clone)]
pub(super) struct Desk {
    /// To the session.
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// Its ports.
    pub(super) ports: Ports,
}

impl Desk {
    /// Opens the desk; it is served as long as the runtime runs.
    pub(super) fn open(self, dir: &Path) -> Result<()> {
        let what = || "cannot open the session's socket";
        let listener = socket::listen(dir, NAME)?;
        listener.set_nonblocking(true).what(what)?;
        let listener = UnixListener::from_std(listener).what(what)?;
        tokio::spawn(async move {
            loop {
                // It fails while this process has no descriptors left, which passes.
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let desk = self.clone();
                tokio::spawn(async move { tokio::time::timeout(PATIENCE, desk.serve(stream)).await });
            }
        });
        Ok(())
    }

    /// One question. Its directory keeps others away; this is the second lock.
    async fn serve(self, stream: UnixStream) -> std::io::Result<()> {
        if stream.peer_cred()?.uid() != nix::unistd::geteuid().as_raw() {
            return Ok(());
        }
        let (from, mut to) = stream.into_split();
        let mut line = Vec::new();
        tokio::io::BufReader::new(from.take(LONGEST)).read_until(b'\n', &mut line).await?;
        let answer = match serde_json::from_slice(&line) {
            Ok(question) => self.answer(question),
            Err(e) => failed(Failure::new("the session does not understand").because(e)),
        };
        to.write_all(format!("{}\n", serde_json::to_string(&answer)?).as_bytes()).await
    }

    fn answer(&self, question: Question) -> Answer {
        match question {
            Question::Stop => match self.events.send(Event::Stop) {
                Ok(()) => {
                    let events = self.events.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(talk::FAREWELL).await;
                        events.send(Event::Stop)
                    });
                    Answer::Done
                }
                Err(_) => failed(Failure::new("the session is ending")),
            },
            Question::Forward(forward) => self.ports.open(forward).map_or_else(failed, |()| Answer::Done),
        }
    }
}

fn failed(failure: Failure) -> Answer {
    Answer::Failed { what: failure.what, because: failure.because, next: failure.next }
}

/// Has the session in `dir` open a port.
///
/// # Errors
/// When it cannot, or does not answer.
pub fn forward(dir: &Path, forward: Forward) -> Result<()> {
    ask(dir, &Question::Forward(forward)).0
}

/// Ends the session in `dir`: politely, and by force when that does not help. Comes back when it is over.
///
/// # Errors
/// When it cannot be ended.
pub fn stop(dir: &Path) -> Result<()> {
    let (asked, pid) = ask(dir, &Question::Stop);
    if !is_alive(dir) {
        return Ok(());
    }
    let Some(pid) = pid else { return asked };
    if asked.is_ok() && ends_within(dir, FAREWELL) {
        return Ok(());
    }
    // It hangs, or was stopped. Everything that it started dies with it.
    kill(Pid::from_raw(pid), Signal::SIGKILL).what(|| format!("cannot end process {pid}"))?;
    match ends_within(dir, PATIENCE) {
        true => Ok(()),
        false => Err(Failure::new(format!("process {pid} does not end")).next(format!("ps -o pid,stat,wchan {pid}"))),
    }
}

/// The lock is the sign of life.
fn is_alive(dir: &Path) -> bool {
    crate::files::is_locked(&dir.join(LOCK))
}

fn ends_within(dir: &Path, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    while is_alive(dir) {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The answer, and which process gave it or should have.
fn ask(dir: &Path, question: &Question) -> (Result<()>, Option<i32>) {
    let what = || "the session does not answer";
    let (mut stream, pid) = match socket::connect(dir, NAME) {
        Ok(connected) => connected,
        Err(e) => return (Err(e.next("vmclaude session list")), None),
    };
    let answered = || -> Result<Answer> {
        stream.set_read_timeout(Some(PATIENCE)).what(what)?;
        stream.set_write_timeout(Some(PATIENCE)).what(what)?;
        let text = serde_json::to_string(question).what(what)?;
        stream.write_all(format!("{text}\n").as_bytes()).what(what)?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST)).read_line(&mut line).what(what)?;
        serde_json::from_str(&line).what(what)
    };
    let result = match { answered }() {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Failed { what, because, next }) => {
            let failure = because.into_iter().fold(Failure::new(what), Failure::because);
            Err(Failure { next, ..failure })
        }
        Err(e) => Err(e.next("vmclaude session stop ID")),
    };
    (result, pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A desk that is served by a thread, and what it tells its session.
    fn desk(dir: &Path) -> std::sync::mpsc::Receiver<Event> {
        let (tell, told) = std::sync::mpsc::channel();
        let (ready, opened) = std::sync::mpsc::channel();
        let dir = dir.to_path_buf();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let (events, mut session) = mpsc::unbounded_channel();
                Desk { events, ports: Ports::default() }.open(&dir).expect("opens");
                ready.send(()).expect("ready");
                while let Some(event) = session.recv().await {
                    let _ = tell.send(event);
                }
            });
        });
        opened.recv().expect("opened");
        told
    }

    #[test]
    fn questions_are_answered_one_by_one() {
        let dir = tempfile::tempdir().expect("dir");
        let told = desk(dir.path());
        assert_eq!(ask(dir.path(), &Question::Stop).0, Ok(()));
        assert_eq!(told.recv().expect("told"), Event::Stop);
        let refused = forward(dir.path(), "80".parse().expect("a port")).expect_err("there is no guest");
        assert_eq!(refused.because, ["the session is still starting"]);
    }

    #[test]
    fn nonsense_is_refused_and_harms_nobody() {
        let dir = tempfile::tempdir().expect("dir");
        let told = desk(dir.path());
        for text in ["\n".to_owned(), "{}\n".into(), "\"fly\"\n".into(), "x".repeat(20_000) + "\n"] {
            let (mut stream, _) = socket::connect(dir.path(), NAME).expect("connects");
            let _ = stream.write_all(text.as_bytes());
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            assert!(!answer.contains("done"), "{answer}");
        }
        assert_eq!(ask(dir.path(), &Question::Stop).0, Ok(()), "the next one is served");
        assert_eq!(told.recv().expect("told"), Event::Stop);
    }
}
