//! Asks a program something about itself, within a time limit.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(3);
/// No pipe holds more than this, if nobody asked for it.
const PIPE: u64 = 1 << 16;

/// The first line that `program ARGUMENT` prints; `None` when it fails, prints nothing or takes too long.
pub fn first_line(program: &Path, argument: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg(argument).env_clear();
    let text = output(command, LIMIT)?;
    let line: String = text.lines().next()?.trim().chars().filter(|c| !c.is_control()).collect();
    (!line.is_empty()).then_some(line)
}

/// What a program prints, as text; `None` when it fails, prints no text or takes too long. Meant for short answers: a longer
/// one than a pipe holds takes too long.
pub fn output(command: Command, limit: Duration) -> Option<String> {
    let (code, bytes) = answer(command, limit)?;
    String::from_utf8(bytes).ok().filter(|_| code == Some(0))
}

/// The status of a program and what it prints; `None` when it cannot be started or takes too long, as in [`output`].
pub fn answer(mut command: Command, limit: Duration) -> Option<(Option<i32>, Vec<u8>)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let end = Instant::now() + limit;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                return None;
            }
        }
    };
    let mut bytes = Vec::new();
    // What it printed waits in the pipe.
    child.stdout.take()?.take(PIPE).read_to_end(&mut bytes).ok()?;
    Some((ended.code(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_says_nothing_has_no_answer() {
        assert_eq!(first_line(Path::new("/bin/echo"), "QEMU 9"), Some("QEMU 9".to_owned()));
        for silent in ["/bin/true", "/bin/false", "/nonexistent"] {
            assert_eq!(first_line(Path::new(silent), "x"), None, "{silent}");
        }
    }
}
