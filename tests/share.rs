//! The share server as a process: what it locks itself into, and that it leaves nothing behind. No machine is needed.
#![cfg(target_os = "linux")]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmclaude::share::{Config, Mount, VERB};

const SERVER: &str = env!("CARGO_BIN_EXE_vmclaude");

struct Started {
    dir: tempfile::TempDir,
    first: Child,
}

/// Lets these descriptors through to the program, and only to this one.
fn inherit(command: &mut Command, fds: Vec<RawFd>) {
    let pass = move || {
        for fd in &fds {
            // SAFETY: the caller keeps the descriptors open until the program was started.
            fcntl(unsafe { BorrowedFd::borrow_raw(*fd) }, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        nix::unistd::setsid()?;
        Ok(())
    };
    // SAFETY: only fcntl(2) and setsid(2) are called between fork and exec, and nothing is allocated.
    unsafe { command.pre_exec(pass) };
}

fn open_dir(path: &Path) -> File {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(path).expect("a directory")
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("tempdir");
    fs::create_dir(dir.path().join("project")).expect("mkdir");
    fs::create_dir(dir.path().join("shared")).expect("mkdir");
    dir
}

/// Starts the server the way `share` says; `meddle` acts between the opening of the directories and the start.
fn start(meddle: impl FnOnce(&Path)) -> Started {
    let dir = tree();
    let (project, shared) = (open_dir(&dir.path().join("project")), open_dir(&dir.path().join("shared")));
    let listener = UnixListener::bind(dir.path().join("fs.sock")).expect("bind");
    meddle(dir.path());
    let config = config(&project, &shared, listener.as_raw_fd(), std::process::id());
    let mut command = Command::new(SERVER);
    command.arg(VERB).stdin(Stdio::piped()).stderr(File::create(dir.path().join("log")).expect("log"));
    inherit(&mut command, vec![project.as_raw_fd(), shared.as_raw_fd(), listener.as_raw_fd()]);
    let mut first = command.spawn().expect("spawn");
    let json = serde_json::to_vec(&config).expect("json");
    first.stdin.take().expect("stdin").write_all(&json).expect("write");
    Started { dir, first }
}

fn config(project: &File, shared: &File, listener: RawFd, parent: u32) -> Config {
    let mount = |dir: &File, tag: &str, writable| Mount {
        dir: dir.as_raw_fd(),
        tag: tag.to_string(),
        writable,
        coherent: false,
    };
    Config {
        parent,
        listener,
        mounts: vec![mount(project, "workspace", true), mount(shared, "shared", false)],
        protected: Vec::new(),
        events: None,
        guest_uid: 1000,
        guest_gid: 1000,
    }
}

fn within<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(t) = f() {
            return t;
        }
        assert!(Instant::now() < end, "in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn status(pid: i32, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(":\t")?.trim().to_string()))
}

fn gone(pid: i32) {
    within("the process is gone", || status(pid, "State").is_none_or(|state| state.starts_with('Z')).then_some(()));
}

/// The process that does the work, once it is locked in.
fn worker(first: u32) -> i32 {
    within("the worker is locked in", || {
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
        let pid = children.split_whitespace().next()?.parse().ok()?;
        (status(pid, "Seccomp")? == "2").then_some(pid)
    })
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join("log")).expect("log")
}

impl Started {
    fn pid(&self) -> i32 {
        self.first.id().cast_signed()
    }

    fn end(mut self) -> (Option<i32>, String) {
        let exit = within("the server ends", || self.first.try_wait().expect("wait"));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mounts.contains(self.dir.path().to_str().expect("utf-8")), "no mount is left: {mounts}");
        (exit.code(), log(self.dir.path()))
    }
}

#[test]
fn the_worker_sees_the_share_and_nothing_else() {
    let started = start(|_| ());
    let pid = worker(started.first.id());
    let mut root: Vec<_> = fs::read_dir(format!("/proc/{pid}/root")).expect("root").flatten().collect();
    root.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = root.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(names, ["shared", "workspace"]);

    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let options = |point: &str| {
        let line = mounts.lines().find(|l| l.split(' ').nth(4) == Some(point)).expect("mounted");
        line.split(' ').nth(5).expect("options").to_string()
    };
    assert_eq!(mounts.lines().count(), 3, "{mounts}");
    assert!(options("/workspace").starts_with("rw,nosuid,nodev,noexec"));
    assert!(options("/shared").starts_with("ro,nosuid,nodev,noexec"));
    assert!(options("/").starts_with("ro,nosuid,nodev,noexec"));

    let net = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("net");
    assert_eq!(net.lines().skip(2).map(|l| l.trim().split(':').next()).collect::<Vec<_>>(), [Some("lo")]);
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).expect("fds").flatten() {
        let to = fs::read_link(fd.path()).expect("link");
        let known = [Path::new("/"), Path::new("/dev/null"), &started.dir.path().join("log")];
        assert!(!to.is_absolute() || known.contains(&to.as_path()), "{} leads out", to.display());
        // Its own descriptors (numbers) are behind one of them, and not the processes of the host above those.
        for above in fs::read_dir(fd.path().join("..")).into_iter().flatten().flatten() {
            let name = above.file_name().into_string().expect("utf-8");
            assert!(names.contains(&name.as_str().into()) || name.parse::<u32>().is_ok_and(|n| n < 64), "{name}");
        }
    }
    kill(Pid::from_raw(started.pid()), Signal::SIGTERM).expect("kill");
    gone(pid);
    started.end();
}

#[test]
fn both_processes_have_given_up_what_they_do_not_need() {
    let started = start(|_| ());
    let pid = worker(started.first.id());
    // Real root keeps what makes it root to everybody's files: CAP_DAC_OVERRIDE (1) and CAP_FOWNER (3).
    let kept = if geteuid().is_root() { "000000000000000a" } else { "0000000000000000" };
    for (process, kept) in [(pid, kept), (started.pid(), "0000000000000000")] {
        within("capabilities are dropped", || (status(process, "NoNewPrivs")? == "1").then_some(()));
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(status(process, set).expect("status"), kept, "{set} of {process}");
        }
        for set in ["CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(status(process, set).expect("status"), "0000000000000000", "{set} of {process}");
        }
        let ignored = u64::from_str_radix(&status(process, "SigIgn").expect("status"), 16).expect("hex");
        assert_eq!(ignored & 0b111, 0b111, "HUP, INT and QUIT are ignored");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let files = limits.lines().find_map(|l| l.strip_prefix("Max open files")).expect("a line");
    let files: Vec<&str> = files.split_whitespace().collect();
    assert_eq!(files[0], files[1], "the soft limit is the hard one");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    let (code, log) = started.end();
    assert_eq!(code, Some(125));
    assert!(log.contains("it died of SIGKILL"), "{log}");
}

#[test]
fn killing_the_first_process_takes_the_worker_along() {
    let mut started = start(|_| ());
    let pid = worker(started.first.id());
    started.first.kill().expect("kill");
    gone(pid);
    assert_eq!(started.first.wait().expect("wait").signal(), Some(9));
}

#[test]
fn it_ends_when_qemu_hangs_up() {
    let started = start(|_| ());
    let pid = worker(started.first.id());
    drop(UnixStream::connect(started.dir.path().join("fs.sock")).expect("connect"));
    gone(pid);
    assert_eq!(started.end(), (Some(0), String::new()));
}

#[test]
fn qemu_is_told_at_once_when_there_is_no_server() {
    let started = start(|_| ());
    let sock = started.dir.path().join("fs.sock");
    let mut early = UnixStream::connect(&sock).expect("connect");
    let pid = worker(started.first.id());
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
    gone(pid);
    let read = early.read(&mut [0; 1]);
    assert!(matches!(read, Ok(0)) || read.is_err(), "{read:?}");
    started.end();
    assert!(UnixStream::connect(&sock).is_err());
}

#[test]
fn it_dies_with_the_process_that_started_it() {
    let dir = tree();
    let (project, shared) = (open_dir(&dir.path().join("project")), open_dir(&dir.path().join("shared")));
    let listener = UnixListener::bind(dir.path().join("fs.sock")).expect("bind");
    let json = serde_json::to_string(&config(&project, &shared, listener.as_raw_fd(), 0)).expect("json");
    fs::write(dir.path().join("json"), json.replace("\"parent\":0", "\"parent\":PARENT")).expect("write");
    let script = r#"sed "s/PARENT/$$/" json >mine; "$0" "$1" <mine & echo $! >pid.new; mv pid.new pid; wait"#;
    let mut shell = Command::new("sh");
    shell.current_dir(dir.path()).args(["-c", script, SERVER, VERB]);
    inherit(&mut shell, vec![project.as_raw_fd(), shared.as_raw_fd(), listener.as_raw_fd()]);
    let mut shell = shell.spawn().expect("spawn");
    let first: i32 = within("a pid", || fs::read_to_string(dir.path().join("pid")).ok()?.trim().parse().ok());
    let pid = worker(first.cast_unsigned());
    shell.kill().expect("kill");
    shell.wait().expect("wait");
    gone(first);
    gone(pid);
}

#[test]
fn a_directory_that_was_replaced_is_not_shared() {
    let started = start(|dir| {
        fs::remove_dir(dir.join("project")).expect("rmdir");
        fs::create_dir(dir.join("project")).expect("mkdir");
    });
    let (code, log) = started.end();
    assert_eq!(code, Some(125));
    assert!(log.contains("cannot share"), "{log}");
}

#[test]
fn a_directory_that_was_renamed_is_still_the_one() {
    let started = start(|dir| {
        fs::rename(dir.join("project"), dir.join("moved")).expect("rename");
        fs::create_dir(dir.join("project")).expect("mkdir");
        fs::write(dir.join("moved/here"), "").expect("write");
    });
    let pid = worker(started.first.id());
    assert!(Path::new(&format!("/proc/{pid}/root/workspace/here")).exists());
    drop(UnixStream::connect(started.dir.path().join("fs.sock")).expect("connect"));
    started.end();
}

#[test]
fn nonsense_on_stdin_is_a_usage_error() {
    for text in ["", "{}", "hello", r#"{"parent":1,"listener":3,"mounts":[],"guest_uid":-1,"guest_gid":0}"#] {
        let mut server = Command::new(SERVER);
        let mut server = server.arg(VERB).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
        server.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
        let out = server.wait_with_output().expect("wait");
        assert_eq!(out.status.code(), Some(64), "{text:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("share server"), "{text:?}");
    }
}
