//! A conversation's streams: one for the terminal, one for each of ours that is none.

use super::Talk;
use crate::error::{Context, Result};
use crate::session::converse::lost;
use crate::session::relay;
use nix::libc::EPIPE;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::split;
use tokio::sync::oneshot;
use vmclaude_init::wire::proto::{Open, Stdio};

impl Talk {
    /// One stream for the terminal, one for each of ours that is not one.
    pub(in crate::session) fn open_streams(&mut self) -> Result<()> {
        let own = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().what(|| "cannot use our own streams");
        if let Some(terminal) = self.terminal.as_ref() {
            let (from, to) = split(self.wire.open(&Open::Terminal).map_err(lost)?);
            let (hold, released) = oneshot::channel();
            let own = own(terminal)?;
            let screen = relay::Screen::new(self.clipboard, Arc::clone(&self.cooked), Arc::clone(&self.shown));
            // Written before our terminal is raw, a line's end would become two.
            self.outputs.spawn(async move {
                let _ = released.await;
                let _ = relay::receive_screen(from, own, screen).await;
                None
            });
            (self.keys, self.hold) = (Some(to), Some(hold));
        }
        let [stdin, stdout, stderr] = self.facts.kinds.map(|kind| kind == Stdio::Pipe);
        if stdin {
            tokio::spawn(relay::send(own(&std::io::stdin())?, self.wire.open(&Open::Stdin).map_err(lost)?));
        }
        if stdout {
            let written = self.output(&Open::Stdout, own(&std::io::stdout())?, self.facts.screens[1])?;
            self.outputs.spawn(async { written.await.err().filter(is_loss) });
        }
        if stderr {
            let written = self.output(&Open::Stderr, own(&std::io::stderr())?, self.facts.screens[2])?;
            self.outputs.spawn(async {
                // Nor could anybody be told so.
                let _ = written.await;
                None
            });
        }
        Ok(())
    }

    /// Writes a stream of the command's to one of ours; to somebody's `screen` not everything.
    fn output(
        &self,
        open: &Open,
        own: OwnedFd,
        screen: bool,
    ) -> Result<impl Future<Output = std::io::Result<()>> + Send + use<>> {
        let stream = self.wire.open(open).map_err(lost)?;
        let screen = screen.then(|| relay::Screen::new(self.clipboard, Arc::default(), Arc::default()));
        Ok(async {
            match screen {
                Some(screen) => relay::receive_screen(stream, own, screen).await,
                None => relay::receive(stream, own).await,
            }
        })
    }
}

/// Whether something could not be written. A reader that went away wants no more, and where the guest's end breaks off, that is
/// the command's own way to end.
fn is_loss(e: &std::io::Error) -> bool {
    e.raw_os_error().is_some_and(|code| code != EPIPE)
}
