//! A shell on a terminal, and somebody who types.

use crate::on_terminal;
use crate::world::World;
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// More than a loaded machine needs; a test that waits so long has failed.
const LIMIT: Duration = Duration::from_secs(30);

/// See the module. The shell is killed when it is dropped.
pub(crate) struct Typist {
    keys: File,
    child: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
    seen: usize,
    steps: usize,
}

impl Typist {
    /// Starts an interactive shell in `out`; its hook is not loaded.
    pub(crate) fn new(world: &World, words: &[&str]) -> Typist {
        let mut command = world.shell(words);
        command.arg("-i");
        Typist::with(world, command)
    }

    /// Starts any program in `out`.
    pub(crate) fn with(world: &World, mut command: Command) -> Typist {
        world.clean(&mut command);
        Typist::start(command)
    }

    fn start(command: Command) -> Typist {
        // Wide, so that no line is broken.
        let size = Winsize { ws_row: 50, ws_col: 2000, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let child = on_terminal::start(command, pty.slave);
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let keys = File::from(pty.master);
        let mut from = keys.try_clone().expect("dup");
        let to = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                to.0.lock().expect("lock").push_str(&String::from_utf8_lossy(&bytes[..n]));
                to.1.notify_all();
            }
        });
        Typist { keys, child, screen, seen: 0, steps: 0 }
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until `text` is on the screen; what came before it since the last wait, and it.
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
            assert!(!left.is_zero(), "no {text:?} after\n{}", *screen);
            screen = self.screen.1.wait_timeout(screen, left).expect("lock").0;
        }
    }

    /// Types a line and another that marks its end; everything that appeared between.
    pub(crate) fn step(&mut self, line: &str) -> String {
        self.steps += 1;
        let number = self.steps;
        self.keys(&format!("{line}\necho e''nd{number}.\n"));
        self.wait(&format!("end{number}."))
    }

    /// Waits until a job has the terminal, or the shell has it.
    pub(crate) fn wait_for_job(&self, wanted: bool) {
        let end = Instant::now() + LIMIT;
        let shell = i32::try_from(self.child.id()).expect("a pid");
        while nix::unistd::tcgetpgrp(&self.keys).is_ok_and(|group| (group.as_raw() != shell) != wanted) {
            assert!(Instant::now() < end, "the terminal did not change hands");
            std::thread::yield_now();
        }
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
