//! Warm starts in the real VM: a machine that was saved once is copied, and copies share nothing.
#![cfg(target_os = "linux")]

#[path = "../support/image.rs"]
#[allow(dead_code)] // One of its functions is for others.
mod image;
mod slot;
#[path = "../support/wait.rs"]
mod wait;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::{Child, Command};
use wait::until;
use world::World;

/// The phase that only a copy goes through.
const PLUGGED: &str = "it has its share, and runs";
const SECRET: &str = "sk-ant-a-key-that-is-nowhere-on-disk";

/// Prints what must never be equal in two machines, and what each wrote to its own disk.
const DIFFERENT: &str = "
    head -c 16 /dev/urandom | od -An -tx1
    cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid
    mktemp -u; mktemp -d
    head -c 16 /dev/random | od -An -tx1
    bash -c 'echo $RANDOM$RANDOM$RANDOM'
    sed -n '/stack/p' /proc/self/maps
    echo \"$ME\" >> /var/tmp/mine; cat /var/tmp/mine";

#[test]
fn a_template_is_made_once_aside_and_then_used() {
    let world = World::new();
    // Two first runs at once, with something in them that must not be kept.
    let mut runs: Vec<Child> = (0..2)
        .map(|_| {
            let mut run = world.run("true");
            run.env("ANTHROPIC_API_KEY", SECRET).env("VMCLAUDE_PROFILE", "1").spawn().expect("spawn")
        })
        .collect();
    assert!(runs.iter_mut().all(|run| run.wait().expect("wait").success()));
    world.await_template();
    let templates = world.templates();
    assert_eq!(templates.len(), 1, "{templates:?}");
    assert_eq!(fs::metadata(&templates[0]).expect("stat").permissions().mode() & 0o777, 0o600);
    let dir = templates[0].parent().expect("a directory");
    assert_eq!(fs::metadata(dir).expect("stat").permissions().mode() & 0o777, 0o700);
    let bytes = fs::read(&templates[0]).expect("read");
    let project = world.path("p").display().to_string();
    // (In the other flavor the names of variables are there: in Claude Code's own program.)
    for secret in [SECRET, "ANTHROPIC", project.as_str()] {
        assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "{secret} is in the template");
    }
    let (code, out, err) = world.output("date +%s; pwd; id -u; touch made; hostname");
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains(PLUGGED), "not a copy: {err}");
    let lines: Vec<&str> = out.lines().collect();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_secs();
    assert!(lines[0].parse::<u64>().expect("seconds").abs_diff(now) < 120, "{out}");
    assert_eq!(lines[1], "/workspace");
    assert_eq!(lines[3], "vmclaude");
    assert!(world.path("p/made").exists());
    assert_eq!(world.console_lines("share"), [""; 0], "its share was not put back as the template had it");
    // Another machine has another template; as long as there is none, it boots.
    let other = world.run("true").env("VMCLAUDE_MEMORY", "600M").env("VMCLAUDE_PROFILE", "1").output().expect("run");
    assert!(other.status.success() && !String::from_utf8_lossy(&other.stderr).contains(PLUGGED));
    kill_makers(&world);
}

/// The maker for the other machine has just been started. Killed, it leaves nothing.
fn kill_makers(world: &World) {
    let maker = until("a maker runs", || world.processes("__template").first().copied());
    until("it has started QEMU", || world.processes("vmclaude.template").first().copied());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(maker), nix::sys::signal::Signal::SIGKILL).expect("kill");
    until("its QEMU is gone", || world.processes("vmclaude.template").is_empty().then_some(()));
    assert_eq!(world.templates().len(), 1);
    let hidden = fs::read_dir(world.cache()).expect("list").flatten().filter(|e| e.file_name() != "lock").count();
    assert_eq!(hidden, 1, "only the first template is there");
}

#[test]
fn twenty_copies_at_once_start_and_share_nothing() {
    let world = World::new();
    world.make_template();
    let runs: Vec<Child> = (0..20)
        .map(|n| world.run(DIFFERENT).env("VMCLAUDE_PROFILE", "1").env("ME", n.to_string()).spawn().expect("spawn"))
        .collect();
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 16];
    for (n, run) in runs.into_iter().enumerate() {
        let done = run.wait_with_output().expect("wait");
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success() && err.contains(PLUGGED), "{n}: {err}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines.len() >= 8, "{n}: {out}");
        for (k, line) in lines.iter().enumerate() {
            assert!(seen[k].insert((*line).to_owned()), "line {k} of copy {n} is another copy's too: {line}");
        }
    }
    assert_eq!(world.templates().len(), 1, "none of them gave up its template");
}

#[test]
fn a_damaged_template_is_removed_and_the_machine_boots() {
    let world = World::new();
    let template = world.make_template();
    let good = fs::read(&template).expect("read");
    let len = good.len() as u64;
    // Memory, the scratch disk or the devices' state (at the end), the index, and a file that is cut short.
    for (what, at) in [("memory", 50 << 20), ("state", len - 400_000), ("index", len - 30), ("cut", 0)] {
        fs::write(&template, &good).expect("write");
        fs::set_permissions(&template, fs::Permissions::from_mode(0o600)).expect("chmod");
        let file = fs::File::options().write(true).open(&template).expect("open");
        match what {
            "cut" => file.set_len(len / 2).expect("cut"),
            _ => file.write_all_at(&[0xa5; 8], at).expect("write"),
        }
        let (code, out, err) = world.output("echo here");
        assert_eq!((code, out.as_str()), (Some(0), "here\n"), "{what}: {err}");
        assert!(err.contains("starting from power-on"), "{what}: {err}");
        assert!(!template.exists(), "{what}");
        world.await_makers();
        let _ = fs::remove_file(template.with_extension("failed"));
    }
}

#[test]
fn without_warm_starts_nothing_is_copied_or_made() {
    let world = World::new();
    let done: std::process::Output = Command::output(world.run("true").env("VMCLAUDE_WARM_START", "0")).expect("run");
    assert!(done.status.success());
    assert!(!world.cache().exists());
}

/// Sleeps on each processor, which one that does not hear its timer never ends; then which there are and which work.
const PROCESSORS: &str = "for n in $(seq 0 $(($(nproc) - 1))); do taskset -c $n sleep 0.02; done
    cat /sys/devices/system/cpu/present /sys/devices/system/cpu/online";

#[test]
fn every_processor_works_after_a_boot_and_in_a_copy() {
    let world = World::new();
    world.make_template();
    for warm in ["0", "1"] {
        let mut run = world.run(PROCESSORS);
        let done = run.env("VMCLAUDE_WARM_START", warm).env("VMCLAUDE_PROFILE", "1").output().expect("run");
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!(err.contains(PLUGGED), warm == "1", "{err}");
        let (present, online) = out.trim_end().split_once('\n').unwrap_or_else(|| panic!("{out}{err}"));
        assert_eq!(present, online, "{err}");
    }
}

#[test]
fn a_copy_has_its_projects_volume() {
    let world = World::new();
    world.configure("[volumes]\nlocal = ['node_modules']\n");
    world.make_template();
    let script = "cat node_modules/f; echo $ME >> node_modules/f; grep -c '^/dev/vdd /workspace/node_modules ext4 rw,nosuid,nodev' /proc/mounts";
    for (n, want) in ["1\n", "0\n1\n", "0\n1\n1\n"].iter().enumerate() {
        let done = world.run(script).env("VMCLAUDE_PROFILE", "1").env("ME", n.to_string()).output().expect("run");
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(err.contains(PLUGGED), "not a copy: {err}");
        assert_eq!(out, *want, "{err}");
    }
    // And a machine that boots finds what copies left.
    let booted = world.run(script).env("VMCLAUDE_WARM_START", "0").output().expect("run");
    assert_eq!(String::from_utf8_lossy(&booted.stdout), "0\n1\n2\n1\n");
    assert_eq!(world.templates().len(), 1, "no copy gave up the template");
}

/// Starts Claude Code between two looks at how much was read of its disk, in sectors of 512 bytes; then what else it left there.
const READ_BY_CLAUDE: &str = "read_() { awk '{ print $3 }' /sys/block/vdb/stat; }
    read_; claude --version; read_; ls -d /claude /tmp/*claude* /tmp/.[!.]* 2>/dev/null; grep -c claude /proc/mounts";

#[test]
fn a_copy_has_claude_code_in_its_memory() {
    let world = World::new();
    let done = world.command(&["claude", "--version"]).output().expect("run");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    world.await_template();
    assert_eq!(world.templates().len(), 1);
    let read = || {
        let (_, out, err) = world.output(READ_BY_CLAUDE);
        assert!(err.contains(PLUGGED), "not a copy: {err}");
        let lines: Vec<&str> = out.lines().collect();
        let [before, version, after, mounts] = lines[..] else { panic!("{out}{err}") };
        assert!(version.contains("Claude Code") && mounts.parse::<u32>().is_ok_and(|n| n > 0), "{out}");
        let number = |line: &str| line.parse::<u64>().expect("sectors");
        (number(after) - number(before)) / 2
    };
    // A shell would have the other flavor, which is not there yet.
    let kib = read();
    assert!(kib < 1 << 10, "{kib} KiB were read");
    until("the shell's flavor is there", || (world.templates().len() == 2).then_some(()));
    world.await_makers();
    let kib = read();
    assert!(kib > 20 << 10, "only {kib} KiB were read, so this says nothing");
}

/// All processes but the kernel's own, once no rehearsal is left, and whether there was to be one.
const PROCESSES: &str = "while pgrep -x true >/dev/null; do :; done
    ps --ppid 2 -p 2 --deselect -o s=,comm= >/tmp/all; sed 's/^[^Z]/-/' /tmp/all | sort
    grep -c vmclaude.rehearse /proc/cmdline";

#[test]
fn of_a_rehearsal_nothing_is_left() {
    let world = World::new();
    let processes = |cpus: &str| {
        let done =
            world.run(PROCESSES).env("VMCLAUDE_CPUS", cpus).env("VMCLAUDE_WARM_START", "0").output().expect("run");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    let (one, two) = (processes("1"), processes("2"));
    let (alone, with) = (one.strip_suffix("0\n").expect("none"), two.strip_suffix("1\n").expect("a rehearsal"));
    assert_eq!(alone, "- init\n- init\n- ps\n- sh\n");
    assert_eq!(with, alone);
}
