//! What copies between a command and its streams.

use crate::command::Running;
use crate::keys::Watch;
use crate::relay::{Async, Counted, Noticed, pump};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, split};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use vmclaude_init::wire::mux::Stream;

/// What copies.
pub(crate) struct Relays {
    /// What must be finished before the exit is told.
    pub(crate) outputs: JoinSet<io::Result<()>>,
    /// What has the terminal open.
    pub(crate) terminal: Vec<AbortHandle>,
}

/// Starts the copying.
pub(crate) fn start(
    running: &mut Running,
    mut streams: HashMap<&'static str, Stream>,
    spoke: &Arc<Notify>,
    watch: &Watch,
) -> io::Result<Relays> {
    let (mut outputs, mut terminals) = (JoinSet::new(), Vec::new());
    if let (Some(terminal), Some(stream)) = (running.terminal.as_ref(), streams.remove("terminal")) {
        let (from_host, to_host) = split(stream);
        let screen = Noticed(Async::new(terminal.try_clone()?)?, spoke.clone(), watch.shown.clone());
        terminals.push(outputs.spawn(pump(screen, to_host)));
        let keys = Counted(Async::new(terminal.try_clone()?)?, watch.typed.clone());
        terminals.push(tokio::spawn(type_in(from_host, keys)).abort_handle());
    }
    let [stdin, stdout, stderr] = std::mem::take(&mut running.pipes);
    if let (Some(pipe), Some(stream)) = (stdin, streams.remove("stdin")) {
        tokio::spawn(pump(stream, Async::new(pipe)?));
    }
    for (pipe, name) in [(stdout, "stdout"), (stderr, "stderr")] {
        if let (Some(pipe), Some(stream)) = (pipe, streams.remove(name)) {
            outputs.spawn(output(Async::new(pipe)?, stream));
        }
    }
    Ok(Relays { outputs, terminal: terminals })
}

/// Keys go in; that the host has no more of them is no end of the terminal.
async fn type_in(from: impl AsyncRead + Unpin, mut terminal: Counted) -> io::Result<()> {
    pump(from, &mut terminal).await?;
    std::future::pending().await
}

/// Output goes out. A reader that went away on the host closes the pipe here, and the command gets its SIGPIPE.
async fn output(pipe: Async, stream: Stream) -> io::Result<()> {
    let (mut from_host, to_host) = split(stream);
    let mut nothing = [0];
    tokio::select! {
        done = pump(pipe, to_host) => done,
        _ = from_host.read(&mut nothing) => Ok(()),
    }
}
