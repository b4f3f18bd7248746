//! What a session takes of the host now: processor time and memory of its processes, as the kernel counts them.

use serde::{Deserialize, Serialize};

/// What processes took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
    /// Memory now, in bytes: the guest's as far as it is there, and what its processes have for themselves.
    pub memory: u64,
}

/// The most that a session took at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Hundredths of one processor, over some seconds.
    pub cpu_percent: u64,
    /// Memory in bytes.
    pub memory: u64,
}

impl Peak {
    /// Learns that within `elapsed` so many milliseconds of processor time were taken.
    pub fn cpu(&mut self, spent: u64, elapsed: std::time::Duration) {
        let percent = u128::from(spent) * 100 / elapsed.as_millis().max(1);
        self.cpu_percent = self.cpu_percent.max(u64::try_from(percent).unwrap_or(u64::MAX));
    }
}

/// What these processes and their children take, and the most memory that they ever took as far as their kernel kept it: a peak
/// is short, and nobody looks all the time. Those that are gone take nothing.
#[cfg(target_os = "linux")]
pub fn of(pids: &[u32]) -> (Usage, u64) {
    let (mut sum, mut most) = (Usage::default(), 0);
    for pid in pids {
        let (guest, status) = (guest(*pid), status_of(*pid));
        let own = private(&status).unwrap_or(0);
        sum.cpu_ms += cpu_ms(*pid).unwrap_or(0);
        sum.memory += own + guest;
        // Whoever serves the guest's memory sees it as well, and it is counted once.
        most += (own + guest).max(if guest > 0 { highest(&status).unwrap_or(0) } else { 0 });
        // The share server's own child is in a namespace of its own, and has none.
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            let own = private(&status_of(child)).unwrap_or(0);
            sum.cpu_ms += cpu_ms(child).unwrap_or(0);
            sum.memory += own;
            most += own;
        }
    }
    (sum, most)
}

/// Nothing is known.
#[cfg(not(target_os = "linux"))]
pub fn of(_: &[u32]) -> (Usage, u64) {
    (Usage::default(), 0)
}

/// Time in user and kernel mode, its own and of children that ended.
#[cfg(target_os = "linux")]
fn cpu_ms(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything, the state is the first field.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|f| f.parse::<u64>().ok()).sum();
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(ticks * 1000 / u64::try_from(per_second).ok()?.max(1))
}

/// What the kernel says of a process; nothing, when it is gone.
#[cfg(target_os = "linux")]
fn status_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// What belongs to this process alone.
#[cfg(target_os = "linux")]
fn private(status: &str) -> Option<u64> {
    field(status, "RssAnon:")
}

/// The most that this process had at any time, without the files of programs that it maps.
#[cfg(target_os = "linux")]
fn highest(status: &str) -> Option<u64> {
    field(status, "VmHWM:")?.checked_sub(field(status, "RssFile:")?)
}

/// A line of `/proc/PID/status`, in bytes.
#[cfg(target_os = "linux")]
fn field(status: &str, name: &str) -> Option<u64> {
    let kib = status.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?;
    Some(kib.parse::<u64>().ok()? << 10)
}

/// The pages of the guest's memory that are there, whoever looks at them.
#[cfg(target_os = "linux")]
fn guest(pid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let is_memory = |path: &std::path::Path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:vmclaude"))
    };
    // QEMU may have it open more than once.
    let files: std::collections::BTreeMap<u64, u64> = fds
        .map(|fd| fd.path())
        .filter(|path| is_memory(path))
        .filter_map(|path| std::fs::metadata(path).ok().map(|meta| (meta.ino(), meta.blocks() * 512)))
        .collect();
    files.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_takes_something_and_a_dead_one_nothing() {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while of(&[std::process::id()]).0.cpu_ms == 0 {
            assert!(std::time::Instant::now() < end, "busy all the time");
        }
        assert!(of(&[std::process::id()]).0.memory > 100 << 10);
        assert_eq!(of(&[u32::MAX]), (Usage::default(), 0));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_was_given_back_is_remembered() {
        let id = std::process::id();
        let before = private(&status_of(id)).expect("a process");
        drop(std::hint::black_box(vec![1_u8; 256 << 20]));
        let status = status_of(id);
        let (now, highest) = (private(&status).expect("a process"), highest(&status).expect("a process"));
        assert!(now < before + (200 << 20) && highest > before + (200 << 20), "{before}, {now}, {highest}");
    }

    #[test]
    fn a_peak_stays() {
        let mut peak = Peak::default();
        let second = std::time::Duration::from_secs(1);
        peak.cpu(1500, second);
        peak.cpu(10, second);
        assert_eq!(peak, Peak { cpu_percent: 150, memory: 0 });
    }
}
