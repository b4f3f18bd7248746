//! Programs with limits: nothing here waits for ever, and nothing outlives its test.

use super::wait::LIMIT;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a finished program left.
pub(crate) struct Done {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

impl Done {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Code and signal, as the parent sees them.
    pub(crate) fn end(&self) -> (Option<i32>, Option<i32>) {
        (self.status.code(), self.status.signal())
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    /// A failure of ours: this code, and what, why and what next on stderr, with these words in it.
    #[track_caller]
    pub(crate) fn assert_failure(&self, code: i32, words: &[&str]) {
        assert_eq!(self.end(), (Some(code), None), "{self:?}");
        let err = self.err();
        assert_eq!(err.matches("vmclaude: ").count(), 1, "one message: {err}");
        for word in words.iter().chain(&["  because ", "  try: "]) {
            assert!(err.contains(word), "{word:?} in {err}");
        }
        assert!(!self.out().contains(super::world::HOST_MARK), "never the host's claude: {self:?}");
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
        write!(f, "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, head(&self.out), head(&self.err))
    }
}

/// A running program; killed when dropped.
pub(crate) struct Live {
    child: Child,
    readers: Vec<JoinHandle<Vec<u8>>>,
}

impl Live {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("kill");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Done {
        let end = Instant::now() + LIMIT;
        let status = loop {
            match self.child.try_wait().expect("wait") {
                Some(status) => break status,
                None if Instant::now() > end => {
                    let _ = self.child.kill();
                    let status = self.child.wait().expect("wait");
                    let done = self.collect(status);
                    panic!("still running after {LIMIT:?}: {done:?}");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        self.collect(status)
    }

    fn collect(&mut self, status: ExitStatus) -> Done {
        let mut texts = self.readers.drain(..).map(|r| r.join().expect("a reader"));
        Done { status, out: texts.next().unwrap_or_default(), err: texts.next().unwrap_or_default() }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ways to run a command with the limit.
pub(crate) trait Limited {
    /// Runs it with nothing at stdin.
    fn done(&mut self) -> Done;
    /// Runs it with these bytes at stdin.
    fn fed(&mut self, stdin: Vec<u8>) -> Done;
    /// Starts it with `/dev/null` at stdin and pipes behind the rest.
    fn live(&mut self) -> Live;
}

impl Limited for Command {
    #[track_caller]
    fn done(&mut self) -> Done {
        self.live().end()
    }

    #[track_caller]
    fn fed(&mut self, stdin: Vec<u8>) -> Done {
        let mut child =
            self.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        let mut to = child.stdin.take().expect("stdin");
        // It may end before it has read everything.
        std::thread::spawn(move || drop(to.write_all(&stdin)));
        watched(child).end()
    }

    #[track_caller]
    fn live(&mut self) -> Live {
        let child = self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        watched(child)
    }
}

fn watched(mut child: Child) -> Live {
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut all = Vec::new();
            let _ = from.read_to_end(&mut all);
            all
        })
    };
    let out = read(Box::new(child.stdout.take().expect("stdout")));
    let err = read(Box::new(child.stderr.take().expect("stderr")));
    Live { child, readers: vec![out, err] }
}
