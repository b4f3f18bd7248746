//! A guest that takes all it can: the host gives what was agreed and no more, hears its user, and the next run works.

use crate::support::{Limited, Who, World, leaks, until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

/// As root: words for the kernel's log and our own streams without end, memory, files, and processes that make processes.
const BOMB: &str = r#"
sudo sh -c 'while :; do echo "a line for whoever keeps logs" > /dev/kmsg; done' &
sudo sh -c 'echo 0 > /proc/sys/kernel/printk_ratelimit; dmesg -n 8; yes > /dev/console' &
python3 -c 'held = []
while True: held.append(bytearray(1 << 20))' &
(while :; do yes error >&2; done) &
touch ready
bomb() { bomb | bomb & }
bomb
exec yes output
"#;

/// Resident memory of a process, in MiB.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// Processor time of a process so far, in seconds.
fn busy(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    times.filter_map(|n| n.parse::<u64>().ok()).sum::<u64>() / 100
}

/// Bytes on disk below a directory, in MiB.
fn size(dir: &std::path::Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let one = |path: &std::path::Path| match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => size(path) << 20,
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(|entry| one(&entry.path())).sum::<u64>() >> 20
}

#[test]
fn a_guest_that_takes_all_it_can_gets_what_was_agreed() {
    let world = World::new(Who::nth(1));
    world.configure("sudo = true\n");
    // Its output goes where nobody reads, so what we would hoard is seen; its errors into a file.
    let err = fs::File::create(world.path("out/err")).expect("create");
    let mut command = world.vm(&["bash", "-c", BOMB]);
    command.env("VMCLAUDE_MEMORY", "512M").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(err);
    let mut run = command.spawn().expect("spawn");
    let machine = until("the machine works hard", || {
        assert!(run.try_wait().expect("wait").is_none(), "it ended by itself");
        let machine = leaks::processes(&world).into_iter().find(leaks::Process::is_machine)?;
        (world.path("p/ready").exists() && busy(machine.pid) > 20).then_some(machine)
    });
    let processes = leaks::processes(&world);
    let ours: Vec<(u64, bool)> = processes.iter().map(|p| (resident(p.pid), p.is_machine())).collect();
    let (logs, files) = (size(&world.state()), size(&world.path("home/.cache")));
    println!("{ours:?} MiB (machine), {logs} MiB of state, {files} MiB of cache after {} s", busy(machine.pid));
    assert!(processes.len() < 10, "{processes:?}");
    for (mib, is_machine) in &ours {
        // Without the machine, resident is also what the share's server sees of the guest's memory.
        assert!(*mib < if *is_machine { 512 + 256 } else { 512 + 64 }, "{ours:?}");
    }
    assert!(logs < 32, "{logs} MiB of records and logs");
    // Its user is heard, and it ends.
    let list = world.vmclaude(&["session", "list"]).done();
    assert_eq!(list.code(), Some(0), "{list:?}");
    let stop = world.vmclaude(&["session", "stop"]).done();
    assert_eq!(stop.code(), Some(0), "{stop:?}");
    until("the run has ended", || run.try_wait().expect("wait"));
    until("its processes are gone", || leaks::processes(&world).is_empty().then_some(()));
    world.assert_clean();
    assert_eq!(world.in_vm(&["echo", "next"]).out(), "next\n");
}

#[test]
fn a_guest_that_turns_itself_off_ends_its_session() {
    let world = World::new(Who::nth(0));
    world.configure("sudo = true\n");
    for off in ["echo o > /proc/sysrq-trigger", "echo b > /proc/sysrq-trigger"] {
        let done = world.in_vm(&["sudo", "sh", "-c", &format!("sync; {off}; sleep 600")]);
        assert_ne!(done.code(), Some(0), "{off}: {done:?}");
        assert!(!done.err().is_empty(), "{off}: somebody is told");
    }
    assert_eq!(world.in_vm(&["echo", "next"]).out(), "next\n");
}
