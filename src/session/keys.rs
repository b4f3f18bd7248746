//! The terminal's keys, read by a thread of their own, and only those that the guest wants: what is not read here stays in
//! the terminal, for whoever reads it next.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SpecialCharacterIndices, tcgetattr};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// What the thread does with keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// It leaves them alone.
    Nothing,
    /// It leaves them alone, and says once that there are some.
    Word,
    /// It reads up to the end of one line, and then wants a word.
    Line,
    /// It reads them all.
    All,
}

/// What is told of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// Keys wait, behind so many bytes that were read.
    Wait(u64),
    /// Its other end is gone.
    Gone,
}

/// What the thread says.
enum Said {
    Keys(Vec<u8>),
    /// There are some, behind so many bytes that were read.
    Some(u64),
}

/// The thread, as seen from outside. It ends when this is dropped.
pub(crate) struct Reader {
    want: Arc<Mutex<Want>>,
    wake: PipeWriter,
}

impl Reader {
    /// Starts reading `terminal` for `to`. That keys wait is told to `news`.
    pub(crate) fn start(
        terminal: File,
        to: impl AsyncWrite + Unpin + Send + 'static,
        news: mpsc::UnboundedSender<News>,
    ) -> io::Result<Reader> {
        let (woken, wake) = io::pipe()?;
        let want = Arc::new(Mutex::new(Want::Nothing));
        let (say, said) = mpsc::channel(1);
        let thread = Thread { terminal, woken, want: Arc::clone(&want), say, read: 0 };
        std::thread::spawn(move || thread.run());
        tokio::spawn(send(said, to, news));
        Ok(Reader { want, wake })
    }

    /// What it does from now on.
    pub(crate) fn want(&mut self, want: Want) {
        *lock(&self.want) = want;
        let _ = self.wake.write(&[0]);
    }
}

/// Tells once when the terminal's other end is gone. The kernel says so to the leader of the session only, which need not tell
/// anybody. The thread ends with the process.
pub(crate) fn watch(terminal: File, news: mpsc::UnboundedSender<News>) {
    std::thread::spawn(move || {
        let hung_up = PollFlags::POLLHUP | PollFlags::POLLERR;
        loop {
            let mut fds = [PollFd::new(terminal.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE).map(|_| fds[0].revents().unwrap_or(PollFlags::empty())) {
                Ok(seen) if seen.intersects(hung_up) => {
                    let _ = news.send(News::Gone);
                    return;
                }
                // A system that cannot say this of a terminal.
                Ok(_) => return,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    });
}

async fn send(mut said: mpsc::Receiver<Said>, mut to: impl AsyncWrite + Unpin, news: mpsc::UnboundedSender<News>) {
    while let Some(what) = said.recv().await {
        let done = match what {
            Said::Keys(keys) => to.write_all(&keys).await.is_ok(),
            Said::Some(behind) => news.send(News::Wait(behind)).is_ok(),
        };
        if !done {
            return;
        }
    }
    let _ = to.shutdown().await;
}

fn lock(want: &Mutex<Want>) -> std::sync::MutexGuard<'_, Want> {
    want.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread {
    terminal: File,
    woken: PipeReader,
    want: Arc<Mutex<Want>>,
    say: mpsc::Sender<Said>,
    read: u64,
}

impl Thread {
    fn run(mut self) {
        loop {
            let want = *lock(&self.want);
            let mut fds = [readable(&self.woken), readable(&self.terminal)];
            let polled = if want == Want::Nothing { 1 } else { 2 };
            let _ = poll(&mut fds[..polled], PollTimeout::NONE);
            let [woken, keys] = fds.map(|fd| fd.any().unwrap_or(false));
            if woken {
                match self.woken.read(&mut [0]) {
                    Ok(1..) => continue,
                    _ => return,
                }
            }
            let goes_on = match want {
                _ if !keys => true,
                Want::Nothing => true,
                Want::Word => {
                    self.turn(Want::Word, Want::Nothing);
                    self.say.blocking_send(Said::Some(self.read)).is_ok()
                }
                Want::Line => self.line(),
                Want::All => self.read(CHUNK).is_some_and(|keys| self.pass(keys)),
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Changes what is wanted, unless somebody else has.
    fn turn(&self, from: Want, to: Want) {
        let mut want = lock(&self.want);
        if *want == from {
            *want = to;
        }
    }

    fn pass(&mut self, keys: Vec<u8>) -> bool {
        self.read += keys.len() as u64;
        self.say.blocking_send(Said::Keys(keys)).is_ok()
    }

    /// `None`: the terminal is gone.
    fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        let mut keys = vec![0; most];
        loop {
            match self.terminal.read(&mut keys) {
                Ok(0) => return None,
                Ok(n) => {
                    keys.truncate(n);
                    return Some(keys);
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted) => {}
                // Somebody else made the shared description non-blocking, and somebody else was faster.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Some(Vec::new()),
                Err(_) => return None,
            }
        }
    }

    /// Reads what there is of a line, key by key, because what is behind its end is not ours.
    fn line(&mut self) -> bool {
        let end_of_file =
            tcgetattr(&self.terminal).map_or(4, |m| m.control_chars[SpecialCharacterIndices::VEOF as usize]);
        let mut line = Vec::new();
        loop {
            let Some(key) = self.read(1) else { return false };
            let over = key.iter().any(|k| [b'\n', b'\r', end_of_file].contains(k));
            line.extend(key);
            if over {
                self.turn(Want::Line, Want::Word);
            }
            let more = !over && line.len() < CHUNK && poll(&mut [readable(&self.terminal)], PollTimeout::ZERO) == Ok(1);
            if !more {
                return self.pass(line);
            }
        }
    }
}

fn readable(fd: &impl AsFd) -> PollFd<'_> {
    PollFd::new(fd.as_fd(), PollFlags::POLLIN)
}
