//! One session: the record, the processes, the conversation over the wire, and the end.

mod child;
mod converse;
pub mod record;
mod relay;
mod scratch;
pub mod signals;
mod stdio;
pub mod trial;
mod tty;

use crate::engine::launch::Launch;
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::plan::Plan;
use child::Handles;
use record::Record;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

/// Runs `plan` by `launch` to its end. When this returns, no process, mount or socket of the session is left.
///
/// # Errors
/// When the VM cannot be started or is lost; the reasons hold the end of its log.
pub fn run(host: &Host, plan: &Plan, launch: &Launch) -> Result<Exit> {
    let runs = host.dirs.runs();
    record::prune(&runs);
    let project = plan.mounts.first().map_or(Path::new("/"), |m| &m.host);
    let program = plan.argv.first().cloned().unwrap_or_default();
    let record = Record::create(&runs, &record::facts(project, &program))?;
    tty::give_back_on_panic();
    let (near, far) = UnixStream::pair().what(|| "cannot make the wire")?;
    let handles = Handles { run_dir: record.dir(), wire: Some(far.as_fd()), share: None };
    let mut machine = child::start(&launch.machine, &handles, "machine.log", Stdio::null())?;
    drop(far);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().what(|| "cannot start")?;
    let outcome = runtime.block_on(converse::run(host, plan, near));
    let outcome = outcome.map_err(|e| explain(e, &mut machine, record.dir()));
    if outcome.is_err() {
        tty::give_back_reset()
    } else {
        tty::give_back()
    }
    machine.kill();
    // Threads that wait for our own streams end with the process.
    runtime.shutdown_background();
    outcome
}

/// Adds what the machine's logs say to a failure.
fn explain(mut failure: Failure, machine: &mut child::Running, dir: &Path) -> Failure {
    if let Some(ended) = machine.ended() {
        failure = failure.because(ended);
    }
    for log in ["machine.log", "console.log"] {
        let text = std::fs::read(dir.join(log)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        for line in &lines[lines.len().saturating_sub(8)..] {
            failure = failure.because(format!("{log}: {}", line.escape_debug()));
        }
    }
    failure
}
