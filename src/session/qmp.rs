//! QEMU's control connection: a command, its answer, an event; one JSON text per line.

use crate::error::{Context, Failure, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::Value;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The longest line that is read. QEMU's own are below a few KiB.
const LONGEST: u64 = 1 << 20;

/// A connection, and the events that came while nobody waited for them.
pub(super) struct Control {
    stream: BufReader<UnixStream>,
    events: Vec<Value>,
    until: Instant,
}

impl Control {
    /// Waits for QEMU's greeting. Everything on this connection together may take as long as `limit`.
    pub(super) fn greet(stream: UnixStream, limit: Duration) -> Result<Control> {
        let mut control = Control { stream: BufReader::new(stream), events: Vec::new(), until: Instant::now() + limit };
        match control.line()?.get("QMP") {
            Some(_) => Ok(control),
            None => Err(strange("it did not greet")),
        }
    }

    /// Gives a command and returns what QEMU answers.
    pub(super) fn execute(&mut self, command: &Value) -> Result<Value> {
        let sent = self.stream.get_mut().write_all(format!("{command}\n").as_bytes());
        sent.what(|| "QEMU takes no commands")?;
        self.answer(command)
    }

    /// Gives a command together with a descriptor.
    pub(super) fn hand_over(&mut self, command: &Value, fd: BorrowedFd<'_>) -> Result<Value> {
        let text = format!("{command}\n");
        let fds = [fd.as_raw_fd()];
        let words = [IoSlice::new(text.as_bytes())];
        let with = [ControlMessage::ScmRights(&fds)];
        let socket = self.stream.get_ref().as_raw_fd();
        let sent = sendmsg::<()>(socket, &words, &with, MsgFlags::empty(), None).what(|| "QEMU takes no commands")?;
        match sent == text.len() {
            true => self.answer(command),
            false => Err(strange("it took half a command")),
        }
    }

    fn answer(&mut self, command: &Value) -> Result<Value> {
        let name = command.get("execute").and_then(Value::as_str).unwrap_or_default();
        loop {
            let mut line = self.line()?;
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = line.get("error") {
                let why = error.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
                return Err(strange(&format!("{name}: {why}")));
            }
            self.events.push(line);
        }
    }

    /// Waits for an event of this name that `fits`.
    pub(super) fn event(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Result<()> {
        let is = |line: &Value| line.get("event").and_then(Value::as_str) == Some(name) && fits(&line["data"]);
        while !self.events.iter().any(is) {
            let line = self.line()?;
            self.events.push(line);
        }
        self.events.clear();
        Ok(())
    }

    fn line(&mut self) -> Result<Value> {
        let what = || "QEMU does not answer";
        let left = self.until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(left)).what(what)?;
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST).read_until(b'\n', &mut line).what(what)?;
        if line.is_empty() {
            return Err(strange("it hung up"));
        }
        serde_json::from_slice(&line).map_err(|e| strange(&e.to_string()))
    }
}

fn strange(why: &str) -> Failure {
    Failure::new("QEMU did not do as it was told").because(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scripted(lines: &'static [&'static str]) -> Result<Control> {
        let (near, mut far) = UnixStream::pair().expect("pair");
        for line in lines {
            far.write_all(format!("{line}\n").as_bytes()).expect("write");
        }
        std::thread::spawn(move || far.read_to_end(&mut Vec::new()));
        Control::greet(near, Duration::from_millis(300))
    }

    #[test]
    fn events_between_a_command_and_its_answer_are_kept() {
        let lines: &[&str] = &[
            r#"{"QMP":{}}"#,
            r#"{"event":"STOP","data":{}}"#,
            r#"{"event":"PORT","data":{"open":false}}"#,
            r#"{"return":{"status":"x"}}"#,
            r#"{"event":"PORT","data":{"open":true}}"#,
        ];
        let mut control = scripted(lines).expect("greets");
        assert_eq!(control.execute(&json!({"execute": "q"})).expect("answer")["status"], "x");
        control.event("PORT", |data| data["open"] == true).expect("event");
        assert!(control.event("PORT", |_| true).is_err(), "waits no longer than the limit");
    }

    #[test]
    fn errors_have_their_reason() {
        let mut control = scripted(&[r#"{"QMP":{}}"#, r#"{"error":{"desc":"no such device"}}"#]).expect("greets");
        let failure = control.execute(&json!({"execute": "device_add"})).expect_err("refused");
        assert_eq!(failure.because, ["device_add: no such device"]);
        assert!(scripted(&["{}"]).is_err());
        assert!(scripted(&["not json"]).is_err());
    }
}
