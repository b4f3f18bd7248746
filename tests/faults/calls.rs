//! System calls that fail, stop or kill, by `strace`. The steps are those that a run without faults was seen to take.

use crate::case::{Case, Lab, Outcome};
use crate::support::program::Live;
use crate::support::{Limited, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Calls that reach outside the process, and an error that each can have.
const CALLS: &[(&str, &str)] = &[
    ("bind", "EACCES"),
    ("clone", "EAGAIN"),
    ("connect", "ECONNREFUSED"),
    ("epoll_create1", "EMFILE"),
    ("execve", "EACCES"),
    ("fcntl", "EMFILE"),
    ("flock", "ENOLCK"),
    ("fsync", "EIO"),
    ("ftruncate", "EFBIG"),
    ("getcwd", "ENOENT"),
    ("listen", "EOPNOTSUPP"),
    ("memfd_create", "ENOMEM"),
    ("mkdir", "ENOSPC"),
    ("openat", "EIO"),
    ("pipe2", "EMFILE"),
    ("pread64", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("readlink", "EIO"),
    ("renameat", "ENOSPC"),
    ("sendto", "EPIPE"),
    ("socket", "EMFILE"),
    ("socketpair", "EMFILE"),
    ("statfs", "EIO"),
    ("unlink", "EACCES"),
    ("unlinkat", "EACCES"),
];
/// Of calls that come in numbers, so many are tried in a usual run.
const FEW: usize = 2;
/// Of the opening of files, as many as there are.
const MANY: usize = 60;

/// A call of a run, and which of its name it is.
struct Step {
    call: &'static str,
    error: &'static str,
    nth: usize,
    about: String,
}

pub(crate) fn cases(lab: &Lab, full: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for Step { call, error, nth, about } in steps(lab, full) {
        let step = format!("{call} {nth} {about}");
        let inject = move |what: &str| format!("inject={call}:{what}:when={nth}");
        let failing = inject(&format!("error={error}"));
        cases.push(Case::new(step.clone(), "error", move |lab| Ok(Outcome::Ended(traced(lab, &failing).1.end()))));
        let stopping = inject("signal=SIGSTOP");
        cases.push(Case::new(step.clone(), "hang", move |lab| hang(lab, &stopping)));
        let killing = inject("signal=SIGKILL");
        cases.push(Case::new(step, "kill -9", move |lab| Ok(Outcome::Ended(traced(lab, &killing).1.end()))));
    }
    cases
}

/// What a run without faults does.
fn steps(lab: &Lab, full: bool) -> Vec<Step> {
    let (log, mut live) = traced(lab, "trace=all");
    live.end();
    let text = fs::read_to_string(&log).expect("a trace");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut linking = false;
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('(') else { continue };
        let Some((call, error)) = CALLS.iter().find(|(call, _)| *call == name) else { continue };
        let nth = seen.entry(call).or_default();
        *nth += 1;
        let nth = *nth;
        // From a program's start to its first own step it is the dynamic linker's, and not ours.
        linking = (linking || *call == "execve") && !rest.contains("/proc/self/maps") && !rest.contains("/registry");
        // What fails anyway fails better without us; the first program is the test's own to start.
        if linking && *call != "execve" || rest.contains(" = -1 ") || (nth, *call) == (1, "execve") {
            continue;
        }
        let about = about(rest, &lab.world.root);
        // In a usual run, each file once for each thing that is done with it.
        let of_call = taken.entry((*call).to_owned()).or_default();
        let enough = *of_call >= if *call == "openat" { MANY } else { FEW };
        *of_call += usize::from(!enough);
        let again = taken.insert(format!("{call} {about}"), 1).is_some() && *call != "fcntl";
        if full || !enough && !again {
            steps.push(Step { call, error, nth, about });
        }
    }
    steps
}

/// The path in a call's arguments, without what differs between worlds and runs.
fn about(arguments: &str, root: &Path) -> String {
    // Bytes that are written are no name.
    let quoted = arguments.split('"').nth(1).filter(|text| !text.contains('\\') && !arguments.contains("TMPFILE"));
    let path = quoted.unwrap_or_default().replace(&root.display().to_string(), "");
    let parts: Vec<&str> = path.split('/').collect();
    let random = |n: usize| n > 0 && (parts[n - 1] == "run" || parts[n - 1] == "ended" || parts[n - 1] == "projects");
    let plain = |(n, part): (usize, &&str)| match (random(n), part.starts_with(".vmclaude-")) {
        (true, _) => "ID".to_owned(),
        (_, true) => "ASIDE".to_owned(),
        _ => (*part).to_owned(),
    };
    let all: Vec<String> = parts.iter().enumerate().map(plain).collect();
    // The last three say what it is.
    all[all.len().saturating_sub(3)..].join("/")
}

/// A run under strace with this expression, and strace's log.
fn traced(lab: &Lab, expression: &str) -> (std::path::PathBuf, Live) {
    let log = lab.world.path("out/trace");
    let _ = fs::remove_file(&log);
    let mut command = lab.world.command("strace");
    command.args(["-qq", "-s", "256", "-o"]).arg(&log).args(["-e", expression]).arg(lab.shim()).args(["-p", "hi"]);
    (log, command.live())
}

/// One that hangs at a step is in nobody's way, can be continued, and ends then as if nothing had been.
fn hang(lab: &Lab, expression: &str) -> Result<Outcome, String> {
    let (log, mut live) = traced(lab, expression);
    let stopped = until("it hangs or has ended", || {
        let hangs = fs::read_to_string(&log).unwrap_or_default().contains("stopped by SIGSTOP");
        hangs.then_some(true).or_else(|| live.has_ended().then_some(false))
    });
    if !stopped {
        live.end();
        return Ok(Outcome::NotReached);
    }
    let tracer = live.pid();
    let children = fs::read_to_string(format!("/proc/{tracer}/task/{tracer}/children")).map_err(|e| e.to_string())?;
    let pid: i32 = children.split_whitespace().next().and_then(|c| c.parse().ok()).ok_or("no child of strace")?;
    let other = lab.run().done();
    // It comes as far as ever, or says after a while who is in its way.
    let passes = other.err().contains("exited with 3") || other.err().contains("another vmclaude holds it");
    kill(Pid::from_raw(pid), Signal::SIGCONT).map_err(|e| e.to_string())?;
    let done = live.end();
    match passes && other.code() == Some(125) {
        true => Ok(Outcome::Ended(done)),
        false => Err(format!("another run meanwhile: {other:?}")),
    }
}
