//! Whether somebody waits for a line of the terminal: read from what the kernel says of blocked threads.
//!
//! Who waits for several things at once, of which the terminal may be one, is taken for a reader: a key that comes too
//! early is better than one that never comes.

use crate::sys::AsUser;
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a blocked thread does with a terminal.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    /// It reads this descriptor.
    Reads(i32),
    /// It waits for several descriptors.
    Watches,
    /// It waits for something else, or runs.
    No,
}

/// Whether a process of the group, all of whose processes descend from us, waits for the terminal.
pub(crate) fn is_there(group: Pid, terminal: &OwnedFd) -> bool {
    let Ok(terminal) = fs::read_link(format!("/proc/self/fd/{}", terminal.as_raw_fd())) else { return true };
    let mut todo = children(std::process::id());
    while let Some(pid) = todo.pop() {
        if group_of(pid) == Some(group.as_raw()) && threads(pid).any(|thread| waits(pid, &thread, &terminal)) {
            return true;
        }
        todo.extend(children(pid));
    }
    false
}

/// Without the right to trace others, which a container's root has not, the kernel tells this to its owner only. Who may not even
/// then be looked at is taken for a reader, unless it is about to end: nobody but a tracer may look at that one.
fn waits(pid: u32, thread: &Path, terminal: &Path) -> bool {
    let look = || looked_at(pid, thread, terminal);
    let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match look() {
        Err(e) if denied(&e) => as_owner(pid, look).unwrap_or_else(|e| denied(&e) && !is_ending(pid)),
        seen => seen.unwrap_or(false),
    }
}

fn looked_at(pid: u32, thread: &Path, terminal: &Path) -> io::Result<bool> {
    match wait(&fs::read_to_string(thread.join("syscall"))?) {
        Wait::Reads(fd) => is_terminal(&PathBuf::from(format!("/proc/{pid}/fd/{fd}")), terminal),
        Wait::Watches => {
            for fd in fs::read_dir(format!("/proc/{pid}/fd"))? {
                if is_terminal(&fd?.path(), terminal).unwrap_or(false) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Wait::No => Ok(false),
    }
}

/// Looks as the process's owner, as far as files are concerned, and only this thread.
fn as_owner(pid: u32, look: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    let owner = fs::metadata(format!("/proc/{pid}"))?;
    let _owner = AsUser::new((owner.uid(), owner.gid()));
    look()
}

/// What `/proc/PID/syscall` says: a number and arguments in hexadecimal, or `running`.
fn wait(text: &str) -> Wait {
    let mut words = text.split_whitespace();
    let Some(number) = words.next().and_then(|n| n.parse::<i64>().ok()) else { return Wait::No };
    let first = words.next().and_then(|a| i64::from_str_radix(a.trim_start_matches("0x"), 16).ok());
    match number {
        libc::SYS_read | libc::SYS_readv | libc::SYS_preadv | libc::SYS_preadv2 | libc::SYS_splice => {
            Wait::Reads(first.and_then(|fd| i32::try_from(fd).ok()).unwrap_or(-1))
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll | libc::SYS_select | libc::SYS_epoll_wait => Wait::Watches,
        libc::SYS_ppoll | libc::SYS_pselect6 | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Wait::Watches,
        libc::SYS_io_uring_enter | libc::SYS_restart_syscall | libc::SYS_sendfile => Wait::Watches,
        _ => Wait::No,
    }
}

fn is_terminal(fd: &Path, terminal: &Path) -> io::Result<bool> {
    let target = fs::read_link(fd)?;
    Ok(target == terminal || target == Path::new("/dev/tty"))
}

fn group_of(pid: u32) -> Option<i32> {
    stat(pid, 3)
}

/// Whether the process has begun to end, or is gone.
fn is_ending(pid: u32) -> bool {
    /// Of linux/sched.h.
    const PF_EXITING: u32 = 0x4;
    stat(pid, 7).is_none_or(|flags: u32| flags & PF_EXITING != 0)
}

/// A word of `/proc/PID/stat`, counted from the end of the name, which may hold anything: 1 state, 2 parent, 3 group, 7 flags.
fn stat<T: std::str::FromStr>(pid: u32, word: usize) -> Option<T> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')?..].split(' ').nth(word)?.parse().ok()
}

fn threads(pid: u32) -> impl Iterator<Item = PathBuf> + use<> {
    entries(&format!("/proc/{pid}/task"))
}

fn children(pid: u32) -> Vec<u32> {
    let lists = threads(pid).filter_map(|thread| fs::read_to_string(thread.join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|c| c.parse().ok()).collect::<Vec<_>>()).collect()
}

fn entries(dir: &str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_waits_for() {
        let call = |number: i64| wait(&format!("{number} 0x3 0x7ffd 0x1 0x0 0x0 0x0 0x7ffd 0x7f00\n"));
        assert_eq!(call(libc::SYS_read), Wait::Reads(3));
        assert_eq!(call(libc::SYS_ppoll), Wait::Watches);
        assert_eq!(call(libc::SYS_wait4), Wait::No);
        assert_eq!(call(libc::SYS_clock_nanosleep), Wait::No);
        assert_eq!((wait("running\n"), wait("-1 0x7ffd 0x7f00\n"), wait("")), (Wait::No, Wait::No, Wait::No));
    }
    #[test]
    fn who_has_ended_is_seen_to_and_nobody_else() {
        assert!(!is_ending(std::process::id()));
        let mut child = std::process::Command::new("/bin/true").spawn().expect("true");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        // It is a zombie until it is waited for.
        while !is_ending(child.id()) {
            assert!(std::time::Instant::now() < end, "it does not end");
            std::thread::yield_now();
        }
        assert_eq!(stat(child.id(), 2), Some(std::process::id()));
        let _ = child.wait();
        assert!(is_ending(child.id()));
    }
}
