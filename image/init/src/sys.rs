//! The few system calls that have no safe wrapper, and small words around those that have.

use nix::mount::{MsFlags, mount};
use nix::unistd::{Gid, Pid, Uid, setfsgid, setfsuid};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is mounted so has neither devices nor set-id files.
pub(crate) const SAFE: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// Whether lines for the log go to stderr.
static STDERR: AtomicBool = AtomicBool::new(false);

/// From now on: a container's kernel log is nobody's.
pub(crate) fn log_to_stderr() {
    STDERR.store(true, Ordering::Relaxed);
}

/// A line in the kernel's log, and so on the serial console that the host keeps.
pub(crate) fn log(line: &str) {
    if STDERR.load(Ordering::Relaxed) {
        let _ = writeln!(io::stderr(), "vmclaude-init: {line}");
        return;
    }
    let _ = std::fs::write("/dev/kmsg", format!("<3>vmclaude-init: {line}"));
}

/// The kernel takes somebody else when memory is short: without us the machine would be lost.
pub(crate) fn spare_from_oom() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
}

/// On a machine with one processor, makes us wait our turn and then keep it: whoever wakes us goes on until it waits itself,
/// so that we find all that it had to say, and we are through with that before those whom we wake run. Under emulation every
/// change between two processes costs as much as many system calls. With more processors nobody waits for another anyway.
///
/// Our children inherit it: see [`as_usual`].
pub(crate) fn take_turns() -> io::Result<()> {
    /// Better than a command's 0, so that our turn comes soon. With -3 keys waited longer behind a flow of output; less than -5
    /// gained nothing that could be measured.
    const NICE: libc::c_int = -5;
    // SAFETY: takes a number.
    if unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } > 1 {
        return Ok(());
    }
    schedule(libc::SCHED_BATCH, NICE)
}

/// Undoes [`take_turns`] for a command. Makes only system calls.
pub(crate) fn as_usual() -> io::Result<()> {
    // SAFETY: takes a number.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_BATCH {
        return Ok(());
    }
    schedule(libc::SCHED_OTHER, 0)
}

/// Of the calling thread alone.
fn schedule(policy: libc::c_int, nice: libc::c_int) -> io::Result<()> {
    // SAFETY: a sched_param is plain data for which all zeroes is a value, and these policies take no other.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: takes two numbers and reads a sched_param, which lives through the call.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    // SAFETY: takes three numbers.
    if done == 0 && unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// How many processes the kernel has killed for want of memory.
pub(crate) fn oom_kills() -> u32 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
}

/// Creates a directory with its parents.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path).map_err(|e| at("cannot create", path, e))
}

/// An error that names its path.
pub(crate) fn at(what: &str, path: &Path, e: impl Into<io::Error>) -> io::Error {
    let e = e.into();
    io::Error::new(e.kind(), format!("{what} {}: {e}", path.display()))
}

/// Mounts, creating the mount point.
pub(crate) fn mount_on(source: &str, target: &Path, kind: &str, flags: MsFlags, data: &str) -> io::Result<()> {
    make_dir(target)?;
    let kind = (!kind.is_empty()).then_some(kind);
    mount(Some(source), target, kind, flags, Some(data)).map_err(|e| at("cannot mount", target, e))
}

/// Every mount point in a table such as `/proc/self/mountinfo`, in its order.
pub(crate) fn mount_points(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    table.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(plain)
}

/// A path as it is, of one in which the kernel wrote some bytes as a backslash and three octal digits.
fn plain(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Files are looked up and made with a user's rights by this thread while this lives. Everything here is otherwise root.
pub(crate) struct AsUser;

impl AsUser {
    pub(crate) fn new((uid, gid): (u32, u32)) -> AsUser {
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid));
        AsUser
    }
}

impl Drop for AsUser {
    fn drop(&mut self) {
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
    }
}

/// From now on nothing that this process executes has these capabilities. Makes only system calls.
pub(crate) fn give_up(capabilities: &[libc::c_ulong]) -> io::Result<()> {
    for number in capabilities {
        // SAFETY: takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *number, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Loads a kernel module from its file; one that is loaded already is fine.
pub(crate) fn load_module(path: &Path) -> io::Result<()> {
    let module = std::fs::read(path).map_err(|e| at("cannot open", path, e))?;
    let module = unsigned(&module);
    // SAFETY: init_module reads the module and the empty C string; both live through the call.
    let rc = unsafe { libc::syscall(libc::SYS_init_module, module.as_ptr(), module.len(), c"".as_ptr()) };
    let error = io::Error::last_os_error();
    if rc == 0 || error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(at("cannot load", path, error)) }
}

/// A module without its signature, which says nothing here, because nobody asks for one and the host has verified the archive; but
/// under emulation the kernel takes a tenth of its whole start to check those of all.
fn unsigned(module: &[u8]) -> &[u8] {
    /// What a signed file ends with; before it there is a `struct module_signature` of linux/module_signature.h.
    const MARK: &[u8] = b"~Module signature appended~\n";
    let signed = || {
        let (rest, about) = module.strip_suffix(MARK)?.split_last_chunk::<12>()?;
        let [_, _, _, signer, key, _, _, _, signature @ ..] = *about;
        let signature = usize::try_from(u32::from_be_bytes(signature)).ok()?;
        rest.get(..rest.len().checked_sub(signature + usize::from(signer) + usize::from(key))?)
    };
    signed().unwrap_or(module)
}

/// Brings the loopback interface up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: an ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives through the call.
    let rc = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mixes `seed` into the kernel's generator and makes it start afresh.
pub(crate) fn reseed(seed: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)` of linux/random.h.
    const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
    const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
    let random = std::fs::OpenOptions::new().read(true).write(true).open("/dev/urandom")?;
    let bits = u32::try_from(seed.len() * 8).unwrap_or(0);
    let size = u32::try_from(seed.len()).unwrap_or(0);
    let pool = [&bits.to_ne_bytes()[..], &size.to_ne_bytes(), seed].concat();
    // SAFETY: rand_pool_info is two ints and as many bytes as the second says; `pool` is laid out so and lives on.
    let added = unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY as _, pool.as_ptr()) };
    // SAFETY: takes no argument.
    let reseeded = unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG as _) };
    if added == 0 && reseeded == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a file system tell its disk what is free, in pieces of at least so many bytes.
pub(crate) fn trim(mounted: impl AsFd, least: u64) -> io::Result<()> {
    /// `_IOWR('X', 121, struct fstrim_range)` of linux/fs.h: from where, how much, and the least.
    const FITRIM: libc::c_ulong = 0xc018_5879;
    let mut range = [0, u64::MAX, least];
    // SAFETY: FITRIM reads and writes an fstrim_range, three numbers, which live through the call.
    let rc = unsafe { libc::ioctl(mounted.as_fd().as_raw_fd(), FITRIM as _, range.as_mut_ptr()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets a terminal's size.
pub(crate) fn set_size(terminal: impl AsFd, size: vmclaude_init::wire::proto::WinSize) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: size.width, ws_ypixel: size.height };
    // SAFETY: TIOCSWINSZ reads a winsize, which lives through the call.
    let rc = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `terminal` the controlling terminal of our session.
pub(crate) fn set_controlling(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an int.
    let rc = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY as _, 0) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What became of a child.
pub(crate) enum Change {
    /// It exited with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(i32),
    /// This signal stopped it.
    Stopped(i32),
}

/// The next child that ended or stopped, reaped; `None` when nothing changed. (The safe wrapper loses the status of a
/// child that a real-time signal killed.)
pub(crate) fn next_change() -> Option<(Pid, Change)> {
    let mut status = 0;
    // SAFETY: waitpid writes an int, which lives through the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
    let change = match status {
        _ if pid <= 0 => return None,
        s if libc::WIFSTOPPED(s) => Change::Stopped(libc::WSTOPSIG(s)),
        s if libc::WIFSIGNALED(s) => Change::Killed(libc::WTERMSIG(s)),
        s => Change::Exited(libc::WEXITSTATUS(s) as u8),
    };
    Some((Pid::from_raw(pid), change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_cut_off_and_nothing_else_is() {
        let signed = |sizes: [u8; 3]| {
            let about = [0, 1, 2, sizes[0], sizes[1], 0, 0, 0, 0, 0, 0, sizes[2]];
            [b"\x7fELF module".as_slice(), &[b's'; 9], &about, b"~Module signature appended~\n"].concat()
        };
        assert_eq!(unsigned(&signed([2, 3, 4])), b"\x7fELF module");
        assert_eq!(unsigned(&signed([0, 0, 9])), b"\x7fELF module");
        let lies = signed([9, 9, 200]);
        for whole in [b"\x7fELF module".as_slice(), b"", b"~Module signature appended~\n", &lies] {
            assert_eq!(unsigned(whole), whole);
        }
    }
}
