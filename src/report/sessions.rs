//! Sessions as people read them.

use super::status::ago;
use crate::session::ended::Ended;
use crate::session::record::{Facts, Seen};
use crate::session::usage::Peak;
use std::fmt::Write;
use vmclaude_shim::refusal::shown;

/// One line for each, under a head; nothing for none.
pub fn table(sessions: &[Seen], now: u64) -> String {
    let mut out = String::new();
    if !sessions.is_empty() {
        let _ = writeln!(out, "{:<9} {:>8} {:>10} {:>9} {:>9}  COMMAND", "ID", "PROCESS", "SINCE", "CPU", "MEMORY");
    }
    for s in sessions {
        let since = ago(now, s.facts.started);
        let (cpu, memory) = (cpu(s.usage.cpu_ms), mib(s.usage.memory));
        let (id, pid) = (&s.facts.id, s.facts.pid);
        let _ = writeln!(out, "{id:<9} {pid:>8} {since:>10} {cpu:>9} {memory:>9}  {}", command(&s.facts));
        // Nothing is known of one that is starting.
        if s.peak != Peak::default() {
            let _ = writeln!(out, "{:<9} {}", "", most(s.peak));
        }
        for forward in &s.forwards {
            let _ = writeln!(out, "{:<9} port {forward}", "");
        }
        if s.disk_full {
            let _ = writeln!(out, "{:<9} the host's disk is nearly full, so its own disk does not grow", "");
        }
        if s.proxies_only {
            let _ = writeln!(
                out,
                "{:<9} its kernel cannot catch connections: only programs that use a proxy have a network",
                ""
            );
        }
    }
    out
}

/// What a session is, or was: then how it ended, and what it took.
pub fn head(facts: &Facts, now: u64, ended: Option<&Ended>) -> String {
    let since = ago(now, facts.started);
    let end = ended.map_or_else(String::new, |e| format!(": {}; it took {}", e.how.escape_debug(), most(e.peak)));
    format!("session {}, {}, started {since} ago{end}", facts.id, command(facts))
}

/// Of processors nothing is known in the first seconds.
fn most(peak: Peak) -> String {
    match peak.cpu_percent {
        0 => format!("at most {}", mib(peak.memory)),
        percent => format!("at most {percent}% of a processor, {}", mib(peak.memory)),
    }
}

/// A log with its name before each line. What a guest wrote into it is shown and does nothing to a terminal.
pub fn log(name: &str, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let plain =
        |line: &str| line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect::<String>();
    let lines = text.lines().map(|l| l.trim_end_matches(['\r', '\0'])).filter(|l| !l.is_empty());
    lines.map(|line| format!("{name}: {}\n", plain(line))).collect()
}

fn command(facts: &Facts) -> String {
    format!("{} in {}", facts.program.escape_debug(), shown(&facts.project))
}

/// Processor time as `ps` prints it.
fn cpu(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds / 60 {
        0 => format!("{seconds}.{} s", ms % 1000 / 100),
        minutes => format!("{minutes}:{:02} min", seconds % 60),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_does_nothing_to_a_terminal() {
        let text = log("console.log", b"a\x1b]52;c;eA==\x07b\r\n\n\0\0\nc\td\n");
        assert_eq!(text, "console.log: a\u{fffd}]52;c;eA==\u{fffd}b\nconsole.log: c\td\n");
    }

    #[test]
    fn what_a_session_took() {
        let most = |cpu_percent| most(Peak { cpu_percent, memory: 300 << 20 });
        assert_eq!([most(0), most(150)], ["at most 300 MiB", "at most 150% of a processor, 300 MiB"]);
    }

    #[test]
    fn times_as_people_read_them() {
        assert_eq!(["0.5 s", "59.9 s", "1:00 min", "75:09 min"], [500, 59_900, 60_000, 4_509_000].map(cpu));
    }
}
