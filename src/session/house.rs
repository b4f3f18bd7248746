//! What goes on beside the conversation: the guest's clock, what the session takes, and how much room the disk has.

use super::disk::{DISK_LOW, free, is_full, look_again};
use super::ended;
use super::notes::{Note, Notes};
use super::ports::Ports;
use super::record::{Live, write_live};
use super::{usage, volume};
use crate::exit::{Exit, VM_FAILED};
use crate::plan::Plan;
use crate::plan::ports::Forward;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::{Interval, MissedTickBehavior};
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::proto::ToGuest;

/// How soon after the host woke up the guest knows what time it is.
const TICK: Duration = Duration::from_secs(1);
/// Every so many ticks the kernel is asked what the session takes.
const RARELY: u32 = 5;
/// The guest's clock is set when the host's was moved by more than this.
const DRIFT: Duration = Duration::from_millis(100);
/// A log that takes up more is cut: the guest decides how much is in some of them.
const LOG_MOST: u64 = 1 << 20;

/// See the module.
pub(super) struct House {
    dir: PathBuf,
    ports: Ports,
    notes: Notes,
    tick: Interval,
    ticks: u32,
    /// What the guest's clock was last set by.
    told: Offset,
    live: Live,
    written: Live,
    before: Option<(Instant, u64)>,
    /// Where files of ours grow, and when they are looked at next.
    disks: Vec<PathBuf>,
    disks_due: tokio::time::Instant,
    frames: VecDeque<ToGuest>,
    journal: Option<File>,
    journalled: u64,
}

impl House {
    /// What a person should hear once it is over.
    pub(super) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// Keeps house in `dir` for a session whose machine is these processes and has this volume. The guest has just been told
    /// the time.
    pub(super) fn new(dir: &Path, volume: Option<&Path>, pids: Vec<u32>, ports: Ports, notes: Notes) -> House {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let journal = File::options().create(true).append(true).mode(0o600).open(dir.join("session.log")).ok();
        House {
            dir: dir.to_path_buf(),
            ports,
            notes,
            tick,
            ticks: 0,
            told: Offset::now(),
            live: Live { pids, ..Live::default() },
            written: Live::default(),
            before: None,
            disks: std::iter::once(dir).chain(volume).map(Path::to_path_buf).collect(),
            disks_due: tokio::time::Instant::now(),
            frames: VecDeque::new(),
            journal,
            journalled: 0,
        }
    }

    /// Opens these ports, and from now on those that others ask for.
    pub(super) fn open_ports(&self, wire: Wire, ports: &[Forward]) {
        self.ports.attach(wire);
        for forward in ports {
            if let Err(e) = self.ports.open(*forward) {
                let why = e.because.first().map_or_else(String::new, |why| format!(": {why}"));
                self.notes.add(Note { what: format!("{}{why}", e.what), next: e.next, loud: false });
            }
        }
    }

    /// The next thing that the guest should be told. May be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> ToGuest {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            tokio::select! {
                _ = self.tick.tick() => self.look(),
                () = tokio::time::sleep_until(self.disks_due) => self.watch_disks(),
                () = self.ports.changed() => self.write(),
            }
        }
    }

    /// A line for the session's log, as long as there is room.
    pub(super) fn journal(&mut self, line: &str) {
        let line = format!("{}\n", line.escape_debug());
        self.journalled += line.len() as u64;
        if let Some(journal) = self.journal.as_mut().filter(|_| self.journalled < LOG_MOST) {
            let _ = journal.write_all(line.as_bytes());
        }
    }

    /// The guest's kernel has killed processes for want of memory.
    pub(super) fn out_of_memory(&mut self, killed: u32, memory: u64, failed: bool) {
        self.journal(&format!("out of memory: {killed} processes were killed"));
        let what = match killed {
            1 => format!("the VM ran out of its {memory} MiB of memory, and a process in it was killed"),
            n => format!("the VM ran out of its {memory} MiB of memory, and {n} processes in it were killed"),
        };
        let next = Some(format!("memory = \"{}M\" in config.toml, or VMCLAUDE_MEMORY={0}M", memory * 2));
        self.notes.add(Note { what, next, loud: failed });
    }

    /// The guest's kernel found errors in the volume.
    pub(super) fn volume_errors(&mut self, plan: &Plan, errors: u64) {
        let Some(file) = plan.volume() else { return };
        self.journal(&format!("the volume: {errors} errors"));
        let what = format!("the file system of this project's volume is damaged ({errors} errors so far)");
        let next = Some(volume::remedy(file));
        self.notes.add(Note { what, next, loud: true });
    }

    /// Not all that the command wrote is there. It could not know, so what it takes for a success is none.
    pub(super) fn unwritten(&mut self, why: &std::io::Error, exit: Exit) -> Exit {
        let what = format!("not all of the output was written to stdout: {why}");
        self.notes.add(Note { what, next: None, loud: true });
        if exit == Exit::OK { Exit::Code(VM_FAILED) } else { exit }
    }

    /// A directory is not on the guest's own disk after all.
    pub(super) fn not_local(&mut self, dir: &[u8], why: &str) {
        let what = format!("{} was not on the VM's own disk: {}", String::from_utf8_lossy(dir), why);
        self.journal(&what);
        self.notes.add(Note { what, next: None, loud: false });
    }

    /// Programs that use no proxy have no network.
    pub(super) fn proxies_only(&mut self, why: &str) {
        let what = format!("only programs that use a proxy had a network: {why}");
        self.journal(&what);
        self.notes.add(Note { what, next: None, loud: false });
        self.live.proxies_only = true;
    }

    /// The guest should know what time it is.
    pub(super) fn tell_time(&mut self) {
        self.told = Offset::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.frames.push_back(ToGuest::Clock(now.as_secs(), now.subsec_nanos()));
    }

    fn look(&mut self) {
        if self.told.differs(Offset::now()) {
            self.tell_time();
        }
        if self.ticks.is_multiple_of(RARELY) {
            self.weigh();
            for log in ended::LOGS {
                cut(&self.dir.join(log));
            }
        }
        self.ticks = self.ticks.wrapping_add(1);
    }

    /// Learns what the session takes: now and then, and once more at its end.
    pub(super) fn weigh(&mut self) {
        let ((usage, most), now) = (usage::of(&self.live.pids), Instant::now());
        self.live.peak.memory = self.live.peak.memory.max(most);
        match self.before {
            // Too short a time says nothing about processors.
            Some((then, _)) if now - then < TICK => {}
            Some((then, cpu)) => {
                self.live.peak.cpu(usage.cpu_ms.saturating_sub(cpu), now - then);
                self.before = Some((now, usage.cpu_ms));
            }
            None => self.before = Some((now, usage.cpu_ms)),
        }
        self.write();
    }

    /// Tells others, when there is something new.
    fn write(&mut self) {
        self.live.forwards = self.ports.all();
        if self.live != self.written && write_live(&self.dir, &self.live).is_ok() {
            self.written = self.live.clone();
        }
    }

    fn watch_disks(&mut self) {
        let least = self.disks.iter().filter_map(|disk| Some((free(disk)?, disk.clone()))).min();
        self.disks_due = tokio::time::Instant::now() + look_again(least.as_ref().map_or(u64::MAX, |(free, _)| *free));
        let Some((free, disk)) = least else { return };
        let full = is_full(self.live.disk_full, free);
        if full == self.live.disk_full {
            return;
        }
        self.live.disk_full = full;
        self.frames.push_back(ToGuest::DiskFull(full));
        self.journal(if full {
            "the host's disk is nearly full: this VM's own disks stop growing"
        } else {
            "there is room again"
        });
        if full {
            let what = format!(
                "the disk with {} has less than {} MiB left, so the VM's own disks were stopped from growing",
                disk.parent().unwrap_or(&disk).display(),
                DISK_LOW >> 20
            );
            self.notes.add(Note { what, next: Some("df -h".to_owned()), loud: false });
        }
        self.write();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.weigh();
    }
}

/// Gives back the front of a log that has grown too large; its end stays, and so does what is written to it now.
fn cut(log: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(meta) = std::fs::metadata(log) else { return };
    if meta.blocks() * 512 <= LOG_MOST {
        return;
    }
    let front = i64::try_from(meta.len().saturating_sub(LOG_MOST / 4)).unwrap_or(0);
    if let Ok(file) = File::options().write(true).open(log) {
        let _ = crate::os::punch_hole(&file, 0, front);
    }
}

/// The wall clock against the clock that stands still while the machine sleeps.
#[derive(Debug, Clone, Copy)]
struct Offset(Duration);

impl Offset {
    fn now() -> Offset {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let awake = START.get_or_init(Instant::now).elapsed();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Offset(wall.saturating_sub(awake))
    }

    /// Whether between the two the machine slept, or somebody set its clock.
    fn differs(self, other: Offset) -> bool {
        self.0.abs_diff(other.0) > DRIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_and_a_clock_that_was_set_are_noticed() {
        let at = |seconds: f64| Offset(Duration::from_secs_f64(seconds));
        assert!(!at(1e9).differs(at(1e9 + 0.05)), "time is disciplined all the time");
        assert!(at(1e9).differs(at(1e9 + 3.0)), "three seconds of sleep");
        assert!(at(1e9).differs(at(1e9 - 3600.0)), "set back");
        assert!(!Offset::now().differs(Offset::now()));
    }

    #[test]
    fn a_log_keeps_its_end_and_takes_little_room() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().expect("dir");
        let log = dir.path().join("console.log");
        std::fs::write(&log, "x".repeat(8 << 20) + "the end").expect("write");
        cut(&log);
        let meta = std::fs::metadata(&log).expect("stat");
        if cfg!(target_os = "linux") {
            assert!(meta.blocks() * 512 < LOG_MOST, "{}", meta.blocks());
        }
        assert!(ended::tail(&log, 100).expect("read").ends_with(b"the end"));
    }
}
