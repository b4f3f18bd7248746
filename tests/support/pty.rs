//! A shell on a terminal, somebody who types, and somebody who looks at the terminal's settings.
//!
//! The shell is `dash`: it has job control and leaves the terminal's settings alone, so whatever changes them is ours.

use super::wait::LIMIT;
use super::{World, on_terminal, until};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);

/// See the module. The shell is killed when it is dropped.
pub(crate) struct Typist {
    keys: Option<File>,
    child: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
    /// Says to the thread that reads that the window is closed.
    closed: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    seen: usize,
    steps: usize,
}

/// What the shell prints when it waits for a line. (Root's dash takes none from its environment.)
pub(crate) const PROMPT: &str = "at your service: ";

/// A terminal's settings, to compare.
pub(crate) type Settings = (u32, u32, u32, u32, Vec<u8>);

impl Typist {
    /// A shell in the world's project, on a terminal of 40 by 100.
    pub(crate) fn new(world: &World) -> Typist {
        let mut command = world.command("dash");
        command.arg("-i").env("ENV", "").env("V", world.path("opt/bin/vmclaude-container"));
        let size = Winsize { ws_row: 40, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        for fd in [&pty.master, &pty.slave] {
            // Or the shell itself would hold the window open.
            nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).expect("fcntl");
        }
        let (uid, gid) = world.who.ids();
        nix::unistd::fchown(&pty.slave, Some(uid.into()), Some(gid.into())).expect("chown");
        let child = on_terminal::start(command, pty.slave);
        let keys = File::from(pty.master);
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let closed = Arc::new(AtomicBool::new(false));
        let reader = show(keys.try_clone().expect("dup"), Arc::clone(&screen), Arc::clone(&closed));
        let mut typist = Typist { keys: Some(keys), child, screen, closed, reader: Some(reader), seen: 0, steps: 0 };
        typist.keys("PS1='at your ser''vice: '\n");
        typist.wait(PROMPT);
        typist
    }

    fn master(&self) -> &File {
        self.keys.as_ref().expect("open")
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, text: &str) {
        self.master().write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until `text` is on the screen; what came before it since the last wait, and it.
    #[track_caller]
    pub(crate) fn wait(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        let mut screen = self.screen.0.lock().expect("lock");
        loop {
            if let Some(at) = screen[self.seen..].find(text) {
                let from = self.seen;
                self.seen = from + at + text.len();
                return screen[from..self.seen].to_owned();
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} after\n{}", &screen[self.seen..]);
            screen = self.screen.1.wait_timeout(screen, left).expect("lock").0;
        }
    }

    /// Types `key` until `text` appears: programs drop what is typed before they listen. Rarely, because a second one that
    /// is heard as well means something else.
    #[track_caller]
    pub(crate) fn press_until(&mut self, key: &str, text: &str) {
        let mut next = Instant::now();
        super::until(&format!("{text:?} is there after {key:?}"), || {
            if self.screen.0.lock().expect("lock")[self.seen..].contains(text) {
                return Some(());
            }
            if Instant::now() > next {
                self.keys(key);
                next = Instant::now() + Duration::from_secs(20);
            }
            None
        });
        self.wait(text);
    }

    /// Types a line for the shell and waits for its end; everything that appeared.
    #[track_caller]
    pub(crate) fn step(&mut self, line: &str) -> String {
        self.steps += 1;
        let number = self.steps;
        self.keys(&format!("{line}\necho e''nd{number}.\n"));
        self.wait(&format!("end{number}."))
    }

    /// The window gets another size.
    pub(crate) fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is open, and the ioctl reads the size that it is given.
        unsafe { set_size(self.master().as_raw_fd(), &raw const size) }.expect("resize");
    }

    /// The terminal's settings.
    pub(crate) fn settings(&self) -> Settings {
        let now = tcgetattr(self.master()).expect("a terminal");
        let bits = |n: u32| n;
        (
            bits(now.input_flags.bits()),
            bits(now.output_flags.bits()),
            bits(now.control_flags.bits()),
            bits(now.local_flags.bits()),
            now.control_chars.to_vec(),
        )
    }

    /// Waits until keys go through unchanged: vmclaude has taken the terminal.
    #[track_caller]
    pub(crate) fn wait_raw(&self) {
        until("the terminal is raw", || {
            let now = tcgetattr(self.master()).ok()?;
            (!now.local_flags.contains(LocalFlags::ICANON)).then_some(())
        });
    }

    /// The process in the foreground.
    pub(crate) fn foreground(&self) -> nix::unistd::Pid {
        nix::unistd::tcgetpgrp(self.master()).expect("a foreground job")
    }

    /// The window is closed: nobody has the terminal's other end any more.
    pub(crate) fn close(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        self.reader.take().expect("open").join().expect("the reader");
        self.keys = None;
    }
}

fn show(mut from: File, to: Arc<(Mutex<String>, Condvar)>, closed: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while !closed.load(Ordering::SeqCst) {
            let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, 20_u16) == Ok(0) {
                continue;
            }
            let Ok(n @ 1..) = from.read(&mut bytes) else { return };
            to.0.lock().expect("lock").push_str(&String::from_utf8_lossy(&bytes[..n]));
            to.1.notify_all();
        }
    })
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
