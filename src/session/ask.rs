//! Asks a program something about itself, within a time limit.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(3);
/// A line longer than this is not an answer.
const LONGEST: u64 = 4096;

/// The first line that `program ARGUMENT` prints; `None` when it fails, prints nothing or takes too long.
pub fn first_line(program: &Path, argument: &str) -> Option<String> {
    let mut command = Command::new(program);
    command.arg(argument).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let end = Instant::now() + LIMIT;
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                break false;
            }
        }
    };
    let mut line = String::new();
    // What it printed waits in the pipe: a version is far smaller than that.
    BufReader::new(child.stdout.take()?.take(LONGEST)).read_line(&mut line).ok()?;
    let line: String = line.trim().chars().filter(|c| !c.is_control()).collect();
    (ended && !line.is_empty()).then_some(line)
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
