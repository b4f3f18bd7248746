//! A question to `container`, or an order, with an end in any case.

use crate::engine::apple::Container;
use crate::engine::apple::calls::Call;
use crate::error::{Context, Failure, Result};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most that is read of an answer.
const MOST: u64 = 8 << 20;

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether it exited with 0.
    pub(super) success: bool,
    /// What it printed.
    pub(super) out: Vec<u8>,
    /// What it said on stderr.
    pub(super) err: String,
}

impl Answer {
    /// A failure with the words that it found.
    pub(super) fn failure(&self, what: impl Into<String>) -> Failure {
        let mut failure = Failure::new(what);
        for line in self.err.lines().filter(|l| !l.trim().is_empty()).take(6) {
            failure = failure.because(line.escape_debug());
        }
        failure
    }
}

/// Who is asked: the program and the environment of every call.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The program file of `container`.
    pub program: std::path::PathBuf,
    /// The environment.
    pub env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

impl From<&Container> for Asked {
    fn from(container: &Container) -> Asked {
        Asked { program: container.program.clone(), env: container.env.clone() }
    }
}

impl Asked {
    /// Carries the call out.
    ///
    /// # Errors
    /// When the program cannot be started or does not end in time; it is killed then.
    pub(super) fn ask(&self, call: &Call) -> Result<Answer> {
        let words = words(&self.program, call);
        let mut command = Command::new(&self.program);
        command.args(&call.args).env_clear().envs(self.env.iter().cloned()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().what(|| format!("cannot start {}", self.program.display()))?;
        let (out, err) = (read(child.stdout.take()), read(child.stderr.take()));
        let status = wait(&mut child, call.limit);
        let join = |thread: JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
        match status {
            Some(status) => Ok(Answer {
                success: status.success(),
                out: join(out),
                err: String::from_utf8_lossy(&join(err)).into_owned(),
            }),
            None => Err(Failure::new(format!("{words} did not end within {} s", call.limit.as_secs()))
                .because("Apple's container service may hang")
                .next("container system stop && container system start")),
        }
    }
}

fn words(program: &Path, call: &Call) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words = call.args.iter().take(2).map(|a| a.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}

/// The status of a child that ended in time; otherwise it is killed.
fn wait(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                return None;
            }
        }
    }
}

/// Reads while the program writes, or a full pipe would stop it.
fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read up to an error counts.
        let _ = from.map(|from| from.take(MOST).read_to_end(&mut bytes));
        bytes
    })
}
