//! `container run`: the work in the order of its source, then a relay between our streams and the container's.

use crate::cli::{Parsed, Spec};
use crate::run_words::{self, Kind};
use crate::state::{Entity, State, now};
use crate::{fail, runtime, say, service, volumes};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Whether the container's process was started: signals mean something else from then on.
static STARTED: AtomicBool = AtomicBool::new(false);
static HURRY: AtomicUsize = AtomicUsize::new(0);

/// A page of Apple's processors.
const PAGE: usize = 16 << 10;
/// How long the streams may take to drain after the end.
const DRAIN: Duration = Duration::from_secs(3);

pub(crate) fn run(state: &State, spec: &Spec, words: &Parsed) -> ExitCode {
    if words.has("tty") {
        return fail(("internalError", "vmclaude must never ask for a terminal".into()));
    }
    listen();
    if let Some(down) = service::down(state) {
        return down;
    }
    let name = words.value("name").unwrap_or("unnamed").to_owned();
    if let Err(bad) = run_words::name(&name) {
        return fail(bad);
    }
    if state.names().contains(&name) {
        return fail(("exists", format!("container with id {name} already exists")));
    }
    let image = &words.positionals[0];
    let Some(found) = state.images().get(image).cloned() else {
        // The real one would fetch it now, without a word.
        return fail(("notFound", format!("vmclaude must never have an image pulled: {image}")));
    };
    let kind = |path: &Path| {
        let meta = fs::metadata(path).ok()?;
        Some(match meta.file_type() {
            t if t.is_dir() => Kind::Directory,
            t if t.is_socket() => Kind::Socket,
            _ => Kind::File,
        })
    };
    let made = match run_words::container(spec, words, &kind) {
        Ok(made) => made,
        Err(bad) => return fail(bad),
    };
    // The real one would make it now, without a word, of 512 GiB.
    if let Some(none) = made.volumes.iter().find(|v| !volumes::file(state, &v.name).exists()) {
        return fail(("notFound", format!("vmclaude must never have a volume made by run: {}", none.name)));
    }
    if let Err(e) = create(state, &made, words, &found) {
        return fail(("exists", format!("container with id {name} already exists ({e})")));
    }
    match attach(state, &name) {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            // A try, without force.
            if state.entity(&name).is_some_and(|e| e.state == "stopped") {
                let _ = state.remove(&name);
            }
            fail(("internalError", format!("failed to run container: {e}")))
        }
    }
}

fn create(state: &State, made: &run_words::Container, words: &Parsed, image: &serde_json::Value) -> io::Result<()> {
    // The service makes it whole, whoever is killed meanwhile.
    let dir = state.aside(&made.name)?;
    let mount = |m: &run_words::Mount| {
        let options: &[&str] = if m.read_only { &["ro"] } else { &[] };
        json!({ "type": { "virtiofs": {} }, "source": m.source, "destination": m.destination, "options": options })
    };
    let tmpfs =
        |path: &String| json!({ "type": { "tmpfs": {} }, "source": "tmpfs", "destination": path, "options": [] });
    let volume = |v: &run_words::Named| {
        let kind =
            json!({ "volume": { "name": v.name, "format": "ext4", "cache": { "on": {} }, "sync": { "fsync": {} } } });
        json!({ "type": kind, "source": volumes::file(state, &v.name), "destination": v.destination, "options": [] })
    };
    let labels: serde_json::Map<_, _> = made.labels.iter().map(|(k, v)| (k.clone(), v.clone().into())).collect();
    let config = json!({
        "id": made.name, "labels": labels, "creationDate": now(), "capAdd": made.cap_add, "capDrop": made.cap_drop,
        "dns": { "nameservers": [], "options": [], "searchDomains": [] },
        "image": { "reference": image["configuration"]["name"], "descriptor": image["configuration"]["descriptor"] },
        "initProcess": { "executable": "/sbin/vmclaude-init", "arguments": words.positionals[1..], "environment": [],
            "workingDirectory": "/", "terminal": false, "user": { "id": { "uid": 0, "gid": 0 } } },
        "mounts": made.directories.iter().chain(&made.sockets).map(mount).chain(made.tmpfs.iter().map(tmpfs)).chain(made.volumes.iter().map(volume)).collect::<Vec<_>>(),
        "networks": [], "platform": { "architecture": "arm64", "os": "linux" }, "publishedPorts": [], "publishedSockets": [],
        "readOnly": false, "resources": { "cpuOverhead": 1, "cpus": made.cpus, "memoryInBytes": made.memory },
        "rosetta": false, "runtimeHandler": "container-runtime-linux", "ssh": false, "sysctls": {}, "useInit": false,
        "virtualization": false, "readonlyPaths": made.read_only_paths,
        "autoRemove": words.has("rm"),
        "double": { "sockets": made.sockets.iter().map(|s| s.destination.clone()).collect::<Vec<_>>() },
    });
    let entity = Entity { state: "stopped".into(), started: None };
    fs::write(dir.join("entity.json"), serde_json::to_vec(&entity)?)?;
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?)?;
    state.place(&dir, &made.name)
}

/// Boots, starts, relays, and waits.
fn attach(state: &State, name: &str) -> io::Result<u8> {
    let (their_in, our_in) = io::pipe()?;
    let (our_out, their_out) = io::pipe()?;
    let (our_err, their_err) = io::pipe()?;
    let (news, tell) = io::pipe()?;
    let (go, ours) = io::pipe()?;
    let stdin = io::stdin();
    // Set and never taken back.
    let flags = OFlag::from_bits_retain(fcntl(stdin.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(stdin.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    helper(name, [their_in.into(), their_out.into(), their_err.into()], &tell, &go)?;
    drop((tell, go));
    let mut news = BufReader::new(news).lines();
    let mut hear = || match news.next() {
        Some(Ok(line)) => line,
        _ => "exit 255".to_owned(),
    };
    match hear() {
        line if line == "booted" => {}
        line => return Err(io::Error::other(line)),
    }
    let mut ours: PipeWriter = ours;
    STARTED.store(true, Ordering::SeqCst);
    ours.write_all(b"start\n")?;
    std::thread::spawn(move || feed(our_in));
    let (done, drained) = mpsc::channel();
    for (from, to) in [(our_out, 1), (our_err, 2)] {
        let done = done.clone();
        std::thread::spawn(move || {
            relay(from, to);
            let _ = done.send(());
        });
    }
    let line = hear();
    let Some(code) = line.strip_prefix("exit ").and_then(|c| c.parse::<i32>().ok()) else {
        return Err(io::Error::other(line));
    };
    for _ in 0..2 {
        if drained.recv_timeout(DRAIN).is_err() {
            say("Error: timeout: \"the output was not read in time\"");
            return Ok(1);
        }
    }
    let _ = state;
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}

/// The helper lives on when we are killed.
#[allow(clippy::disallowed_methods)] // Host is for the program under test
fn helper(name: &str, [stdin, stdout, stderr]: [Stdio; 3], tell: &PipeWriter, go: &PipeReader) -> io::Result<()> {
    let (tell, go) = (tell.as_raw_fd(), go.as_raw_fd());
    let mut command = Command::new(std::env::current_exe()?);
    command.args([runtime::VERB, name, &tell.to_string(), &go.to_string()]);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    let setup = move || -> io::Result<()> {
        nix::unistd::setsid()?;
        for fd in [tell, go] {
            // SAFETY: takes numbers of descriptors that are open in the child as well.
            nix::errno::Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
        }
        Ok(())
    };
    // SAFETY: only system calls between fork and exec.
    unsafe { command.pre_exec(setup) };
    command.spawn().map(drop)
}

/// Our stdin, page by page, until it ends. It was made non-blocking, so it is waited for.
fn feed(mut to: PipeWriter) {
    let mut page = vec![0; PAGE];
    let stdin = io::stdin();
    loop {
        match nix::unistd::read(stdin.as_fd(), &mut page) {
            Ok(0) => return,
            Ok(n) if to.write_all(&page[..n]).is_err() => return,
            Ok(_) => {}
            Err(nix::errno::Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Output; an error of whoever reads it ends the relay without a word.
fn relay(mut from: PipeReader, to: i32) {
    let mut page = vec![0; PAGE];
    // SAFETY: stdout and stderr are open for the whole life of the process, and the File is never dropped.
    let mut to = std::mem::ManuallyDrop::new(unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(to) });
    while let Ok(n @ 1..) = from.read(&mut page) {
        if to.write_all(&page[..n]).is_err() {
            return;
        }
    }
}

fn listen() {
    let action = SigAction::new(SigHandler::Handler(told), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH] {
        // SAFETY: the handler uses atomics, write and _exit only.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// Before the start INT and TERM end us at once, whatever stays behind. After it signals are to be passed on, which does not
/// work in these versions; the third INT or TERM ends us, and the container runs on.
extern "C" fn told(number: i32) {
    let deadly = number == libc::SIGINT || number == libc::SIGTERM;
    if !STARTED.load(Ordering::SeqCst) {
        if deadly {
            // SAFETY: ends the process.
            unsafe { libc::_exit(128 + number) };
        }
        return;
    }
    const LOST: &[u8] = b"failed to send signal: missing signal in xpc message\n";
    // SAFETY: writes bytes that live for ever.
    unsafe { libc::write(2, LOST.as_ptr().cast(), LOST.len()) };
    if deadly && HURRY.fetch_add(1, Ordering::SeqCst) == 2 {
        // SAFETY: ends the process.
        unsafe { libc::_exit(1) };
    }
}
