//! A machine that is going to be saved and copied: everything that all copies have in common is done before, and memory
//! that is not used holds nothing, so that a copy is small and quick.
//!
//! What copies must not share is made after the copy: see [`crate::setup::apply`]. Nothing here may draw a random number
//! that anybody uses later, or read `/proc/sys/kernel/random/boot_id`: the kernel draws it at its first reading.

use std::process::{Command, Stdio};

/// The word on the kernel's command line by which the host asks for it.
const WORD: &str = "vmclaude.template";

/// Free memory that is overwritten with zeroes: more than the boot leaves behind.
const SCRUBBED: usize = 160 << 20;

/// What every session starts sooner or later; read here, so that copies find it in memory.
const COMMON: [&[&str]; 3] =
    [&["/bin/true"], &["/bin/bash", "-c", ":"], &["/usr/bin/env", "--", "/bin/sh", "-c", "id >/dev/null"]];

/// Whether this machine is going to be saved.
pub(crate) fn wanted() -> bool {
    std::fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_whitespace().any(|word| word == WORD))
}

/// Makes it ready. Whatever fails here costs time later and nothing else.
pub(crate) fn settle() {
    nix::unistd::sync();
    let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    scrub();
    touch();
    for words in COMMON {
        let mut command = Command::new(words[0]);
        let _ = command.args(&words[1..]).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).status();
    }
    nix::unistd::sync();
}

/// Reads what the file system needs for new files, and what a session looks up of what was made for it.
fn touch() {
    crate::ahead::touch();
    let dir = std::path::Path::new("/touched");
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
