//! A machine that is going to be saved and copied: everything that all copies have in common is done before, and memory
//! that is not used holds nothing, so that a copy is small and quick.
//!
//! What copies must not share is made after the copy: see [`crate::setup::apply`]. Nothing here may draw a random number
//! that anybody uses later, or read `/proc/sys/kernel/random/boot_id`: the kernel draws it at its first reading.

use crate::boot::is_asked;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The word on the kernel's command line by which the host asks for it.
const WORD: &str = "vmclaude.template";
/// The word beside it where Claude Code is going to be started in the copies.
const WITH_CLAUDE: &str = "vmclaude.template.claude";

/// Free memory that is overwritten with zeroes: more than the boot leaves behind.
const SCRUBBED: usize = 160 << 20;

/// What every session starts sooner or later; read here, so that copies find it in memory.
const COMMON: [&[&str]; 3] =
    [&["/bin/true"], &["/bin/bash", "-c", ":"], &["/usr/bin/env", "--", "/bin/sh", "-c", "id >/dev/null"]];

/// Claude Code, and how much is read ahead of what is read of its disk.
const CLAUDE: &str = "/opt/claude/bin/claude";
const READ_AHEAD: &str = "/sys/block/vdb/queue/read_ahead_kb";

/// How long one of these programs may take. Emulated, on a busy machine, and behind all others, Claude Code takes some seconds.
const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);

/// Whether this machine is going to be saved.
pub(crate) fn wanted() -> bool {
    is_asked(WORD)
}

/// Makes it ready. Whatever fails here costs time later and nothing else.
pub(crate) fn settle() {
    nix::unistd::sync();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    if is_asked(WITH_CLAUDE) {
        read_claude();
    }
    scrub();
    touch();
    for words in COMMON {
        run(Command::new(words[0]).args(&words[1..]).env_clear());
    }
    nix::unistd::sync();
}

/// Claude Code's program is large: what of it every start needs is found in memory. Nothing is read ahead meanwhile, because that would
/// make every copy larger by what nobody needs.
fn read_claude() {
    let usual = std::fs::read(READ_AHEAD);
    let _ = std::fs::write(READ_AHEAD, "0");
    let home = Path::new("/claude");
    let _ = std::fs::create_dir(home);
    run(Command::new(CLAUDE).arg("--version").env_clear().env("HOME", home));
    let _ = std::fs::remove_dir_all(home);
    let _ = usual.and_then(|usual| std::fs::write(READ_AHEAD, usual));
}

/// Runs it and waits for its end, but not for ever.
fn run(command: &mut Command) {
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return;
    };
    let end = Instant::now() + SOON;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Reads what the file system needs for new files, and what a session looks up of what was made for it.
fn touch() {
    crate::ahead::touch();
    let dir = Path::new("/touched");
    let _ = std::fs::create_dir(dir);
    let _ = std::os::unix::fs::symlink("/workspace", dir.join("link"));
    let _ = std::fs::remove_dir_all(dir);
}

/// Free pages hold what was in them last. The kernel clears them for whoever takes them, and they stay clear.
fn scrub() {
    let free = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = free.lines().find_map(|l| l.strip_prefix("MemFree:")?.trim().split(' ').next()?.parse::<usize>().ok());
    let mut pages = vec![0u8; SCRUBBED.min(free.unwrap_or(0) / 2 * 1024)];
    pages.iter_mut().step_by(4096).for_each(|page| *page = std::hint::black_box(0));
}
