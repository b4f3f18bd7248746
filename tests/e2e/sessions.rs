//! Sessions from outside: listed, stopped, read and reached while they run, and remembered when they are over.

use crate::support::{Done, Limited, Who, World, leaks, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Write};

pub(crate) fn session(world: &World, words: &[&str]) -> Done {
    world.vmclaude(&[&["session"][..], words].concat()).done()
}

pub(crate) fn json(world: &World) -> serde_json::Value {
    let done = session(world, &["list", "--json"]);
    serde_json::from_slice(&done.out).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

#[track_caller]
fn id(world: &World, n: usize) -> String {
    json(world)["sessions"][n]["id"].as_str().expect("a session").to_owned()
}

#[test]
fn two_in_one_project_are_listed_stopped_and_remembered() {
    for who in Who::all() {
        let world = World::new(*who);
        let mut deaf = world.start("trap '' TERM HUP; touch ready; while :; do sleep 0.1; done");
        let first = id(&world, 0);
        let mut polite = world
            .start("trap 'exit 7' TERM; echo hello > /dev/kmsg 2>/dev/null; touch ready; while :; do sleep 0.1; done");
        let listed = until("it is weighed", || {
            let all = json(&world);
            let weighed = all["sessions"].as_array()?.iter().all(|s| s["memory"].as_u64() > Some(20 << 20));
            (weighed && all["sessions"].as_array()?.len() == 2).then_some(all)
        });
        let project = world.path("p").canonicalize().expect("real").display().to_string();
        for s in listed["sessions"].as_array().expect("a list") {
            assert_eq!((s["project"].as_str(), s["program"].as_str()), (Some(project.as_str()), Some("bash")), "{s}");
            assert!(s["cpu_ms"].as_u64() > Some(100) && s["peak"]["memory"].as_u64() >= s["memory"].as_u64(), "{s}");
            let run = world.state().join("run").join(s["id"].as_str().expect("an id"));
            let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&run).expect("its directory"));
            assert_eq!(mode & 0o777, 0o700);
        }
        let text = session(&world, &["list"]).out();
        assert!(text.contains(&first) && text.contains("MiB"), "{text}");
        let status = world.vmclaude(&["status"]).done().out();
        assert!(status.contains(&first), "{status}");
        // Neither is meant more than the other.
        let which = session(&world, &["stop"]);
        which.assert_failure(64, &["2 sessions could be meant", &first]);
        let second = id(&world, 1);
        assert_eq!(session(&world, &["stop", &second]).code(), Some(0));
        assert_eq!(polite.end().code(), Some(7), "it heard TERM");
        // The other one hears nothing, and is the only one now.
        assert_eq!(session(&world, &["stop"]).code(), Some(0));
        assert_eq!(deaf.end().end(), (None, Some(Signal::SIGTERM as i32)));
        world.assert_clean();
        let ended = json(&world)["ended"].clone();
        let how: Vec<_> = ended.as_array().expect("a list").iter().map(|e| e["how"].as_str().expect("text")).collect();
        assert_eq!(how, ["exited with 7", "killed by signal 15"], "{ended}");
        assert!(ended[0]["peak"]["memory"].as_u64() > Some(20 << 20), "{ended}");
        let logs = session(&world, &["logs", &second]);
        assert!(logs.code() == Some(0) && logs.err().contains("exited with 7; it took at most "), "{logs:?}");
        session(&world, &["logs", "nonsense"]).assert_failure(64, &["there is no session nonsense"]);
        session(&world, &["stop", &second]).assert_failure(64, &["there is no session", "vmclaude session list"]);
    }
}

#[test]
fn one_that_was_stopped_or_killed_is_ended_and_cleaned_up() {
    let world = World::new(Who::nth(1));
    let mut frozen = world.start("touch ready; sleep 600");
    frozen.signal(Signal::SIGSTOP);
    assert_eq!(session(&world, &["stop"]).code(), Some(0), "by force");
    assert_eq!(frozen.end().end(), (None, Some(9)));
    until("its processes are gone", || leaks::processes(&world).is_empty().then_some(()));
    world.assert_clean();
    let mut killed = world.start("touch ready; sleep 600");
    killed.signal(Signal::SIGKILL);
    killed.end();
    until("its processes are gone", || leaks::processes(&world).is_empty().then_some(()));
    assert_eq!(fs::read_dir(world.state().join("run")).expect("list").count(), 1, "that is what a crash leaves");
    // Every run removes it, and so does prune; its logs are remembered.
    let pruned = world.vmclaude(&["prune"]).done();
    assert!(pruned.err().contains("a crashed session"), "{pruned:?}");
    world.assert_clean();
    assert!(session(&world, &["logs"]).err().contains("was killed or crashed"));
}

/// A QEMU that can be stopped without stopping its process: what a host does that goes to sleep.
fn with_monitor(world: &World) -> std::path::PathBuf {
    let socket = std::path::PathBuf::from(format!("/tmp/vmclaude-test-{}.sock", std::process::id()));
    let qemu = format!("/usr/bin/qemu-system-{}", std::env::consts::ARCH);
    let monitor =
        format!("-chardev socket,id=test,server=on,wait=off,path={} -mon chardev=test,mode=control", socket.display());
    world.program("opt/qemu", &format!("#!/bin/sh\nexec {qemu} \"$@\" {monitor}\n"));
    world.configure(&format!("qemu = \"{}\"\n", world.path("opt/qemu").display()));
    socket
}

fn command(socket: &std::path::Path, name: &str) {
    let mut qemu = std::os::unix::net::UnixStream::connect(socket).expect("the monitor");
    qemu.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a limit");
    for word in ["qmp_capabilities", name] {
        writeln!(qemu, "{{\"execute\":\"{word}\"}}").expect("asked");
    }
    let mut answers = String::new();
    let mut bytes = [0; 1024];
    while answers.matches("\"return\"").count() < 2 {
        let n = qemu.read(&mut bytes).expect("answered");
        answers.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
}

/// Prints the guest's seconds whenever the project has a file `ask`.
const CLOCK: &str =
    "touch ready; while :; do if rm ask 2>/dev/null; then date +%s.%N > t; mv t told; fi; sleep 0.05; done";

fn lag(world: &World) -> f64 {
    let _ = fs::remove_file(world.path("p/told"));
    world.write("p/ask", "");
    let told = until("it tells the time", || fs::read_to_string(world.path("p/told")).ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_secs_f64();
    now - told.trim().parse::<f64>().expect("seconds")
}

#[test]
fn the_clock_is_right_after_a_sleep() {
    let world = World::new(Who::nth(0));
    let monitor = with_monitor(&world);
    let mut live = world.start(CLOCK);
    assert!(lag(&world) < 1.0, "at the start");
    command(&monitor, "stop");
    let slept = std::time::Instant::now();
    until("some seconds have passed", || (slept.elapsed().as_secs_f64() > 4.0).then_some(()));
    command(&monitor, "cont");
    let late = lag(&world);
    assert!(late > 3.0, "the guest must have slept for the test to mean anything: {late}");
    // What a person does who comes back; without it, the host's own clocks tell, see the unit tests.
    live.signal(Signal::SIGCONT);
    until("the clock is right", || (lag(&world).abs() < 1.0).then_some(()));
    // A process that is stopped is no machine that sleeps: its clock runs on.
    let machine = leaks::processes(&world).into_iter().find(leaks::Process::is_machine).expect("it runs");
    kill(Pid::from_raw(machine.pid), Signal::SIGSTOP).expect("stop");
    let slept = std::time::Instant::now();
    until("some seconds have passed", || (slept.elapsed().as_secs_f64() > 2.0).then_some(()));
    kill(Pid::from_raw(machine.pid), Signal::SIGCONT).expect("continue");
    until("the clock is right", || (lag(&world).abs() < 1.0).then_some(()));
    live.signal(Signal::SIGTERM);
    live.end();
    let _ = fs::remove_file(monitor);
    world.assert_clean();
}

/// Takes memory until the kernel says no.
const GREEDY: &str = "exec tail /dev/zero";

#[test]
fn out_of_memory_is_said_with_what_to_type() {
    let world = World::new(Who::nth(1));
    let script = format!("sh -c '{GREEDY}'; echo $?; {GREEDY}");
    let done = world.vm(&["sh", "-c", &script]).env("VMCLAUDE_MEMORY", "512M").done();
    // The supervisor lives, and so does what went on after the first.
    assert_eq!((done.end(), done.out().as_str()), ((None, Some(9)), "137\n"), "{done:?}");
    let err = done.err();
    assert!(err.contains("ran out of its 512 MiB") && err.contains("2 processes"), "{err}");
    assert!(err.contains("VMCLAUDE_MEMORY=1024M"), "{err}");
    world.assert_clean();
}

/// Does one thing after the other, each when it is told, and changes a file in the end that the host's programs run.
const STEPS: &str = r#"
touch ready
exec python3 -c '
import os, socket, time
def told(what):
    while not os.path.exists(what): time.sleep(0.05)
told("eat")
held = bytearray(b"x" * (200 << 20))
told("call")
try: socket.create_connection(("10.255.255.1", 4711), timeout=20)
except OSError: pass
told("plant")
open("Makefile", "a").write("evil:\n")
'"#;

#[test]
fn a_watched_status_changes_by_itself() {
    let world = World::new(Who::nth(1));
    let seen = world.write("out/seen", "");
    world.write("p/Makefile", "all:\n");
    // What a shell makes of the word is asked once, however long somebody watches.
    world.write("home/.bashrc", "echo started >> ~/started\n");
    let mut command = world.vmclaude(&["status", "--watch", "--json"]);
    let out = fs::File::options().append(true).open(&seen).expect("open");
    let _watching = Watching(command.stdin(std::process::Stdio::null()).stdout(out).spawn().expect("spawn"));
    let last = || -> Option<serde_json::Value> {
        let text = fs::read_to_string(&seen).ok()?;
        serde_json::from_str(text.lines().last()?).ok()
    };
    let shows = |what: &str, is_so: &dyn Fn(&serde_json::Value) -> bool| until(what, || last().filter(|s| is_so(s)));
    shows("what claude would do", &|s| s["claude"]["runs"] == "host");
    world.enroll();
    shows("what claude would do now", &|s| s["claude"]["runs"] == "vm");
    let started = || fs::read_to_string(world.path("home/started")).unwrap_or_default().lines().count();
    let shells = started();
    assert!(shells > 0, "bash was asked");
    let mut live = world.start(STEPS);
    shows("a session", &|s| s["sessions"].as_array().is_some_and(|all| all.len() == 1 && all[0]["program"] == "bash"));
    let memory = |s: &serde_json::Value| s["sessions"][0]["memory"].as_u64().unwrap_or_default() >> 20;
    let before = memory(&last().expect("an answer"));
    world.write("p/eat", "");
    shows("what it takes", &|s| memory(s) > before + 150);
    world.write("p/call", "");
    shows("what it was refused", &|s| s["network"]["refused"][0]["target"] == "10.255.255.1:4711");
    world.write("p/plant", "");
    assert_eq!(live.end().code(), Some(0));
    shows("a changed file", &|s| s["problems"].to_string().contains("vmclaude review"));
    shows("no session", &|s| s["sessions"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(started(), shells, "no shell was started again");
}

/// Ends with the test.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes 400 MiB of memory and 300 MiB of the VM's own disk, tells, and gives both back when it is told.
const HUNGRY: &str = r#"
touch ready
python3 -c '
import os, time
held = b"x" * (400 << 20)
open("/var/tmp/held", "wb").write(held[:300 << 20])
os.sync()
open("full", "w").close()
while not os.path.exists("free"): time.sleep(0.1)
os.unlink("/var/tmp/held")
'
sync
sleep 600"#;

/// What the scratch disk of the machine takes on the host: it has no name, and QEMU has it open.
fn scratch(world: &World) -> Option<u64> {
    let machine = leaks::processes(world).into_iter().find(leaks::Process::is_machine)?;
    let fds = fs::read_dir(format!("/proc/{}/fd", machine.pid)).ok()?.flatten().map(|e| e.path());
    let run = world.state().join("run");
    let mut own = fds.filter(|fd| {
        fs::read_link(fd).is_ok_and(|to| to.starts_with(&run) && to.to_string_lossy().ends_with("(deleted)"))
    });
    Some((std::os::unix::fs::MetadataExt::blocks(&fs::metadata(own.next()?).ok()?) * 512) >> 20)
}

#[test]
fn what_the_guest_frees_returns_to_the_host() {
    let world = World::new(Who::nth(0));
    let _live = world.start(HUNGRY);
    let memory = || Some(json(&world)["sessions"][0]["memory"].as_u64()? >> 20);
    until("it has taken what it wants", || world.path("p/full").exists().then_some(()));
    let (full, disk) = (memory().expect("memory"), scratch(&world).expect("a scratch disk"));
    assert!(full > 450 && disk >= 290, "{full} MiB of memory, {disk} MiB of disk");
    world.write("p/free", "");
    let (left, kept) = until("both are back", || {
        let now = (memory()?, scratch(&world)?);
        (now.0 + 300 < full && now.1 + 200 < disk).then_some(now)
    });
    println!("memory: {full} MiB, and {left} MiB after it was freed; disk: {disk} MiB, and {kept} MiB");
    // Counts of pages in memory are a few of them behind.
    let peak = json(&world)["sessions"][0]["peak"]["memory"].as_u64().expect("a number") >> 20;
    assert!(peak + 16 >= full, "it took {full} MiB, and {peak} MiB is said to be the most");
    assert_eq!(session(&world, &["stop"]).code(), Some(0));
}
