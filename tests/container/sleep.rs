//! A host that sleeps: every process of it stands still for a time, and so do the machine's own clock and that of the host
//! which a sleep stops. What a real sleep does besides cannot be had here.

use crate::support::{Limited, World, apple, leaks, until};
use crate::world;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Copies its stdin, counts ten times a second on stderr, and tells the time as often as the project has a file `ask`.
const LIVES: &str = "touch ready
(n=0; while [ ! -e enough ]; do echo $((n += 1)) >&2; sleep 0.1; done) & count=$!
(while sleep 0.05; do if rm ask 2>/dev/null; then date +%s.%N >t; mv t told; fi; done) & tell=$!
cat; touch enough; wait $count; kill $tell; exit 7";

/// Who stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleeper {
    /// The system's side: the container's helper, its machine, the client.
    System,
    /// vmclaude itself, with its helpers.
    Ours,
    /// All of them, and vmclaude is told by a signal that it goes on.
    All,
    /// All of them, and nobody is told, as when a laptop is shut: only the clocks show it.
    Host,
}

/// The clocks of vmclaude's host: whether they are asked in vain, and the seconds that it has slept.
struct Clocks(File, #[expect(dead_code)] tempfile::TempDir);

impl Clocks {
    /// For `command`, by what is preloaded into it.
    fn of(command: &mut Command) -> Clocks {
        // A path with a space cannot be preloaded.
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().expect("a directory");
        let (library, file) = (dir.path().join("asleep.so"), dir.path().join("asleep"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/container/asleep.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).done();
        assert_eq!(built.code(), Some(0), "{built:?}");
        std::fs::write(&file, [0; 16]).expect("write");
        command.env("LD_PRELOAD", library).env("ASLEEP", &file);
        Clocks(File::options().write(true).open(file).expect("open"), dir)
    }

    fn set(&self, asleep: bool, slept: u64) {
        let bytes = [u64::from(asleep).to_ne_bytes(), slept.to_ne_bytes()].concat();
        std::os::unix::fs::FileExt::write_all_at(&self.0, &bytes, 0).expect("write");
    }
}

/// Stands still for `time`.
fn sleep(world: &World, who: Sleeper, time: Duration, clocks: &Clocks) {
    let is_ours = |p: &leaks::Process| p.exe.file_name().is_some_and(|name| name == "vmclaude");
    let of_system = |p: &leaks::Process| who != Sleeper::Ours && !is_ours(p);
    let of_ours = |p: &leaks::Process| matches!(who, Sleeper::Ours | Sleeper::All) && is_ours(p);
    let sleepers: Vec<_> = leaks::processes(world).into_iter().filter(|p| of_system(p) || of_ours(p)).collect();
    let signal = |to: i32, signal| kill(Pid::from_raw(to), signal).expect("it lives");
    if who != Sleeper::Ours {
        // First the machine's clock: in a process that is stopped it would go on.
        let name = apple::containers(world).pop().expect("a container");
        signal(apple::helper(world, &name).expect("a helper"), Signal::SIGUSR2);
        let asleep = apple::service(world).join("containers").join(name).join("asleep");
        until("the machine stands still", || asleep.exists().then_some(()));
    }
    let has =
        |name: &str| sleepers.iter().any(|p| p.exe.file_name().is_some_and(|n| n.to_string_lossy().contains(name)));
    assert_eq!(has("vmclaude"), matches!(who, Sleeper::Ours | Sleeper::All), "{sleepers:?}");
    assert_eq!(has("container") && has("qemu"), who != Sleeper::Ours, "{sleepers:?}");
    sleepers.iter().for_each(|p| signal(p.pid, Signal::SIGSTOP));
    clocks.set(who == Sleeper::Host, 0);
    let begun = Instant::now();
    until("the time has passed", || (begun.elapsed() >= time).then_some(()));
    clocks.set(false, if who == Sleeper::Host { time.as_secs() } else { 0 });
    sleepers.iter().for_each(|p| signal(p.pid, Signal::SIGCONT));
}

/// By how many seconds the guest's clock is late.
fn lag(world: &World) -> f64 {
    let _ = std::fs::remove_file(world.path("p/told"));
    world.write("p/ask", "");
    let told = until("it tells the time", || std::fs::read_to_string(world.path("p/told")).ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    now - told.trim().parse::<f64>().expect("seconds")
}

/// What was read of a stream so far.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn of(mut from: impl Read + Send + 'static) -> Heard {
        let heard = Heard::default();
        let kept = heard.clone();
        std::thread::spawn(move || {
            let mut page = [0; 65536];
            while let Ok(n @ 1..) = from.read(&mut page) {
                kept.0.lock().expect("whole").extend(&page[..n]);
            }
        });
        heard
    }

    fn so_far(&self) -> Vec<u8> {
        self.0.lock().expect("whole").clone()
    }
}

/// Says so much that no pipe on the way holds it, while nobody reads.
fn say(mut to: ChildStdin, round: usize) -> (std::thread::JoinHandle<ChildStdin>, Vec<u8>) {
    let bytes: Vec<u8> = (0..200_000usize).flat_map(|n| (n * 7 + round).to_le_bytes()).collect();
    let said = bytes.clone();
    (std::thread::spawn(move || to.write_all(&bytes).map(|()| to).expect("it listens")), said)
}

#[test]
#[allow(clippy::disallowed_methods)] // a switch of the tests
fn the_session_goes_on_after_a_sleep() {
    let world = world();
    // Longer than every limit of a session that has begun; and the system sets no clock, so that ours is seen to.
    let full = std::env::var("VMCLAUDE_TESTS").is_ok_and(|t| t == "full");
    let time = Duration::from_secs(if full { 100 } else { 5 });
    apple::behave(&world, &serde_json::json!({ "set_clock": 3600 }));
    let mut command = world.vm(&["bash", "-c", LIVES]);
    let clocks = Clocks::of(&mut command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let mut stdin = child.stdin.take().expect("stdin");
    let (out, err) = (Heard::of(child.stdout.take().expect("out")), Heard::of(child.stderr.take().expect("err")));
    until("the guest is ready or it failed", || {
        (world.path("p/ready").exists() || child.try_wait().expect("wait").is_some()).then_some(())
    });
    assert!(world.path("p/ready").exists(), "{}", String::from_utf8_lossy(&err.so_far()));
    assert!(lag(&world).abs() < 1.0, "at the start");
    let mut all = Vec::new();
    for (round, who) in [Sleeper::System, Sleeper::Ours, Sleeper::All, Sleeper::Host].into_iter().enumerate() {
        let (writing, said) = say(stdin, round);
        sleep(&world, who, time, &clocks);
        if who == Sleeper::System {
            let late = lag(&world);
            assert!(late > time.as_secs_f64() / 2.0, "the guest must have slept for this to mean anything: {late}");
        }
        if matches!(who, Sleeper::All | Sleeper::Host) {
            until("the clock is right", || (lag(&world).abs() < 1.0).then_some(()));
        }
        all.extend(said);
        stdin = writing.join().expect("written");
        until("what was said comes back", || (out.so_far().len() == all.len()).then_some(()));
        assert!(out.so_far() == all, "the bytes after {who:?} slept");
        assert!(child.try_wait().expect("wait").is_none(), "it goes on after {who:?} slept");
    }
    drop(stdin);
    let status = until("it ends", || child.try_wait().expect("wait"));
    assert_eq!(status.code(), Some(7), "{}", String::from_utf8_lossy(&err.so_far()));
    let counted = String::from_utf8(err.so_far()).expect("numbers");
    let numbers: Vec<usize> = counted.lines().map(|line| line.parse().expect("a number and no word of ours")).collect();
    assert!(numbers.len() > 10 && numbers.iter().zip(1..).all(|(got, n)| *got == n), "{counted}");
    assert!(out.so_far() == all);
    world.assert_clean();
}
