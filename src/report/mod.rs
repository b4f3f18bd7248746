//! The only printer. Data goes to stdout, words for people to stderr, and a closed pipe is not an error of ours.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod changes;
pub mod log;
pub mod plan;
pub mod sessions;
pub mod status;

use crate::error::{Failure, Result};
use crate::net::Denial;
use crate::session::notes::Note;
use std::io::Write;
use vmclaude_shim::clean::{clean_lines, is_plain};

/// Shows a failure on stderr.
pub fn failure(failure: &Failure) {
    let _ = writeln!(std::io::stderr(), "{}", clean_lines(&failure.to_string()));
}

/// From now on, a fault of this program's own is told as any other failure. It is mostly none: the system refuses a thread,
/// where libraries know nothing better than to give up.
pub fn own_faults() {
    std::panic::set_hook(Box::new(|fault| {
        let payload = fault.payload();
        let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let words = text.unwrap_or("unknown").to_owned();
        let place = fault.location().map_or_else(String::new, |place| format!(" ({place})"));
        let told = match words.contains("spawn") {
            true => Failure::new("cannot start a thread")
                .because(words)
                .next("ulimit -u   # the most processes and threads"),
            false => Failure::new("this should not have happened")
                .because(words + &place)
                .next("VMCLAUDE_LOG=debug, and the same command again"),
        };
        failure(&told);
    }));
}

/// One line for people on stderr.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "vmclaude: {}", clean_lines(text));
}

/// The phases of a run and when they were reached, in milliseconds: since the start, and since the one before.
pub fn phases(phases: &[(&str, std::time::Duration)]) {
    let mut before = 0.0;
    for (phase, since) in phases {
        let now = since.as_secs_f64() * 1e3;
        let _ = writeln!(std::io::stderr(), "{now:9.1} {:+9.1}  {phase}", now - before);
        before = now;
    }
}

/// What a VM was refused, on stderr: the first of it, each with the words that would allow it.
pub fn denials(all: &[Denial]) {
    const SHOWN: usize = 8;
    for denial in all.iter().take(SHOWN) {
        let remedy = denial.remedy().map_or_else(String::new, |words| format!("; to allow it: {words}"));
        note(&format!("the VM was not let to {denial}{remedy}"));
    }
    if all.len() > SHOWN {
        note(&format!("and not to {} other destinations (vmclaude status)", all.len() - SHOWN));
    }
}

/// Bytes, as a person reads them.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// What happened in a session, on stderr; what explains no failure is only for a person who watches.
pub fn notes(notes: &[Note], watched: bool) {
    for said in notes.iter().filter(|n| n.loud || watched) {
        note(&said.what);
        if let Some(next) = &said.next {
            let _ = writeln!(std::io::stderr(), "  try: {}", clean_lines(next));
        }
    }
}

/// Text for people on stdout: whatever foreign words are in it do nothing to a terminal.
///
/// # Errors
/// As [`data`].
pub fn text(text: &str) -> Result<()> {
    data(&clean_lines(text))
}

/// An answer as JSON on stdout, in which only ordinary characters stand for themselves.
///
/// # Errors
/// As [`data`].
pub fn json(answer: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(answer).map_err(|e| Failure::new("cannot print JSON").because(e))?;
    data(&plain_json(&text))
}

/// As [`json`], in one line.
///
/// # Errors
/// When it cannot be said in JSON.
pub fn json_line(answer: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(answer).map_err(|e| Failure::new("cannot print JSON").because(e))?;
    Ok(plain_json(&text))
}

fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c == '\n' || is_plain(c) {
            plain.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| plain.push_str(&format!("\\u{unit:04x}")));
        }
    }
    plain.push('\n');
    plain
}

/// Shows an answer instead of the last one, on a screen in its place; `false`: nobody reads it any more.
///
/// # Errors
/// When stdout cannot be written.
pub fn anew(text: &str, screen: bool) -> Result<bool> {
    let clear = if screen { "\x1b[H\x1b[2J" } else { "" };
    let text = clean_lines(text);
    let mut out = std::io::stdout().lock();
    match write!(out, "{clear}{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(Failure::new("cannot write to stdout").because(e)),
    }
}

/// Data on stdout for programs, as it is.
///
/// # Errors
/// When stdout cannot be written; a reader that went away is success.
pub fn data(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new("cannot write to stdout").because(e)),
        _ => Ok(()),
    }
}

/// Help and usage errors as clap words them, on the stream that clap chooses.
///
/// # Errors
/// When that stream cannot be written.
pub fn help(text: &clap::Error) -> Result<()> {
    // What somebody typed is in an error, and somebody may have been made to type it.
    let printed = match text.use_stderr() {
        true => std::io::stderr().write_all(clean_lines(&text.render().to_string()).as_bytes()),
        false => text.print(),
    };
    match printed {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new("cannot print the help").because(e)),
        _ => Ok(()),
    }
}

/// Asks on the terminal and reads one line; `None` at the end of input, when nobody answered.
///
/// # Errors
/// When the terminal cannot be read.
pub fn ask(question: &str) -> Result<Option<String>> {
    let _ = write!(std::io::stderr(), "{}", clean_lines(question));
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).map_err(|e| Failure::new("cannot read your answer").because(e))?;
    if read == 0 {
        let _ = writeln!(std::io::stderr());
        return Ok(None);
    }
    Ok(Some(line.trim().to_owned()))
}

/// Asks whether; an empty line is `usual`, and the question shows which that is. No answer is no yes.
///
/// # Errors
/// As [`ask`].
pub fn agreed(question: &str, usual: bool) -> Result<bool> {
    let answer = ask(&format!("{question} [{}] ", if usual { "Y/n" } else { "y/N" }))?;
    let yes = |answer: &str| ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes));
    Ok(answer.is_some_and(|answer| yes(&answer) || (usual && answer.is_empty())))
}

/// Asks a person on the terminal itself, after forgetting what was typed before the question; `None` when nobody can be
/// asked: no terminal, or we are not the job in its foreground.
pub fn ask_afresh(question: &str) -> Option<String> {
    let mut terminal = std::fs::File::options().read(true).write(true).open("/dev/tty").ok()?;
    let foreground = nix::unistd::tcgetpgrp(&terminal).is_ok_and(|group| group == nix::unistd::getpgrp());
    if !foreground || nix::sys::termios::tcflush(&terminal, nix::sys::termios::FlushArg::TCIFLUSH).is_err() {
        return None;
    }
    terminal.write_all(clean_lines(question).as_bytes()).ok()?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(terminal), &mut line).ok()?;
    Some(line.trim().to_owned())
}
