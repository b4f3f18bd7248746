//! Changes on the host that the guest repeats: seen here, told to the share server. `share::events` says why and how.

use super::ignored::Ignored;
use super::inotify::{Directory, Watches};
use super::{MOST_PENDING, Say, TOGETHER, frames};
use crate::plan::Plan;
use crate::share::events::{FromServer, Happening, MAX_FRAME, MAX_TOGETHER, ToServer};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::io::{AsyncWrite, split};
use tokio::time::{Instant, sleep_until};
use vmclaude_init::wire::mux::Stream;
use vmclaude_init::wire::proto::{self, MAX_TO_HOST, Noticed};

/// Watches what the share server knows over `server`, and has the guest repeat it over `guest`, until one of them is gone.
///
/// # Errors
/// When the host gives no watches at all, or one of the two ends in the middle of something.
pub async fn run(plan: &Plan, server: UnixStream, guest: Stream, say: Say) -> io::Result<()> {
    let watches = Watches::new().inspect_err(|e| {
        let what = format!("changes on the host do not reach watchers in the VM: {e}");
        say(what, Some("sudo sysctl -w fs.inotify.max_user_instances=1024".to_owned()));
    })?;
    let mut watch = Watch {
        roots: plan.mounts.iter().filter_map(Directory::root).collect(),
        ignored: Ignored::new(&plan.watch.ignore),
        watches,
        pending: Vec::new(),
        since: None,
        ready: false,
        full: false,
        say,
    };
    server.set_nonblocking(true)?;
    let (from_server, mut to_server) = tokio::net::UnixStream::from_std(server)?.into_split();
    let (from_guest, mut to_guest) = split(guest);
    let mut server = frames::<FromServer>(from_server, MAX_FRAME);
    let mut guest = frames::<Noticed>(from_guest, MAX_TO_HOST);
    loop {
        let due = watch.due();
        tokio::select! {
            message = server.recv() => match message {
                Some(message) => watch.hear(message, &mut to_server, &mut to_guest).await?,
                None => return Ok(()),
            },
            answer = guest.recv() => match answer {
                Some(Noticed::By(thread)) => {
                    send(&mut to_server, &ToServer::By(thread)).await?;
                    watch.ready = true;
                }
                Some(Noticed::All) => {
                    send(&mut to_server, &ToServer::Done).await?;
                    watch.ready = true;
                }
                None => return Ok(()),
            },
            happened = watch.watches.next() => watch.note(happened?),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let rest = watch.pending.split_off(watch.pending.len().min(MAX_TOGETHER));
                let now = std::mem::replace(&mut watch.pending, rest);
                watch.since = (!watch.pending.is_empty()).then(Instant::now);
                watch.ready = false;
                send(&mut to_server, &ToServer::Happened(now)).await?;
            }
        }
    }
}

struct Watch {
    roots: Vec<Directory>,
    ignored: Ignored,
    watches: Watches,
    pending: Vec<Happening>,
    /// Since when something is pending.
    since: Option<Instant>,
    /// Whether the guest has repeated everything that it was told.
    ready: bool,
    /// Whether it was said that not everything can be watched.
    full: bool,
    say: Say,
}

impl Watch {
    /// When what is pending is told; never while the guest is busy with the last list.
    fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.ready).map(|since| since + TOGETHER)
    }

    fn note(&mut self, happened: Vec<Happening>) {
        if self.pending.len() + happened.len() > MOST_PENDING {
            tracing::warn!("the guest does not keep up with changes on the host");
            return;
        }
        if !happened.is_empty() {
            self.since.get_or_insert_with(Instant::now);
            self.pending.extend(happened);
        }
    }

    async fn hear(
        &mut self,
        message: FromServer,
        to_server: &mut (impl AsyncWrite + Unpin),
        to_guest: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        match message {
            FromServer::Known(id, tag, path) => {
                if !self.watch(id, &tag, &path) {
                    send(to_server, &ToServer::Unwatched(id)).await?;
                }
            }
            FromServer::Forgotten(id) => self.watches.remove(id),
            FromServer::Acts(acts) if acts.is_empty() => {
                send(to_server, &ToServer::Done).await?;
                self.ready = true;
            }
            FromServer::Acts(acts) => proto::send(to_guest, &acts).await?,
        }
        Ok(())
    }

    /// Whether this directory is watched now.
    fn watch(&mut self, id: u64, tag: &[u8], path: &[u8]) -> bool {
        let Some(root) = self.roots.iter().find(|root| root.tag.as_bytes() == tag) else { return false };
        if self.ignored.is(&root.path, Path::new(OsStr::from_bytes(path))) {
            return false;
        }
        match self.watches.add(id, root, path) {
            Ok(()) => true,
            Err(e) => {
                if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EMFILE | libc::ENOMEM)) && !self.full {
                    self.full = true;
                    let what =
                        "not every change on the host reached watchers in the VM: this machine gives no more watches";
                    (self.say)(what.to_owned(), Some("sudo sysctl -w fs.inotify.max_user_watches=1048576".to_owned()));
                }
                tracing::debug!("not watched: {e}");
                false
            }
        }
    }
}

async fn send<T: serde::Serialize>(to: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    proto::send(to, message).await
}
