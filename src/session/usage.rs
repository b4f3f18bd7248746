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

/// What these processes and their children take; those that are gone take nothing.
#[cfg(target_os = "linux")]
pub fn of(pids: &[u32]) -> Usage {
    let mut sum = Usage::default();
    for pid in pids {
        sum.cpu_ms += cpu_ms(*pid).unwrap_or(0);
        sum.memory += private(*pid).unwrap_or(0) + guest(*pid);
        // The share server's own child is in a namespace of its own, and has none.
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            sum.cpu_ms += cpu_ms(child).unwrap_or(0);
            sum.memory += private(child).unwrap_or(0);
        }
    }
    sum
}

/// Nothing is known.
#[cfg(not(target_os = "linux"))]
pub fn of(_: &[u32]) -> Usage {
    Usage::default()
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

/// What belongs to this process alone.
#[cfg(target_os = "linux")]
fn private(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?.split_whitespace().next()?;
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
        while of(&[std::process::id()]).cpu_ms == 0 {
            assert!(std::time::Instant::now() < end, "busy all the time");
        }
        assert!(of(&[std::process::id()]).memory > 100 << 10);
        assert_eq!(of(&[u32::MAX]), Usage::default());
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
