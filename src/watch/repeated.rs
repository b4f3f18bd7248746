//! Changes on the host that the guest repeats: seen here, told to the share server. `share::events` says why and how.

use super::ignored::Ignored;
use super::inotify::{Directory, Watches};
use super::{MOST_PENDING, Say, TOGETHER, frames};
use crate::plan::Plan;
use crate::share::events::{FromServer, Happening, MAX_FRAME, MAX_TOGETHER, ToServer, What};
use std::collections::HashMap;
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
        pending: Pending::default(),
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
                let now = watch.pending.take();
                watch.since = (!watch.pending.all.is_empty()).then(Instant::now);
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
    pending: Pending,
    /// Since when something is pending.
    since: Option<Instant>,
    /// Whether the guest has repeated everything that it was told.
    ready: bool,
    /// Whether it was said that not everything can be watched.
    full: bool,
    say: Say,
}

/// What is to be told, in order. A program that writes a file line by line makes it happen thousands of times, and each of
/// them would be looked into.
#[derive(Default)]
struct Pending {
    all: Vec<Happening>,
    /// What happened to names last, where more of the same says nothing new.
    last: HashMap<(u64, Vec<u8>), Vec<What>>,
}

impl Pending {
    fn add(&mut self, happening: Happening) {
        let last = self.last.entry((happening.dir, happening.name.clone())).or_default();
        if last.contains(&happening.what) {
            return;
        }
        // Writing and the end of it are told together.
        let joins = matches!(happening.what, What::Changed | What::Closed)
            && last.iter().all(|what| matches!(what, What::Changed | What::Closed));
        if !joins {
            last.clear();
        }
        if matches!(happening.what, What::Changed | What::Closed | What::Attributes) {
            last.push(happening.what);
        }
        self.all.push(happening);
    }

    /// As many as are told at once.
    fn take(&mut self) -> Vec<Happening> {
        self.last.clear();
        let rest = self.all.split_off(self.all.len().min(MAX_TOGETHER));
        std::mem::replace(&mut self.all, rest)
    }
}

impl Watch {
    /// When what is pending is told; never while the guest is busy with the last list.
    fn due(&self) -> Option<Instant> {
        self.since.filter(|_| self.ready).map(|since| since + TOGETHER)
    }

    fn note(&mut self, happened: Vec<Happening>) {
        if self.pending.all.len() > MOST_PENDING {
            tracing::warn!("the guest does not keep up with changes on the host");
            return;
        }
        happened.into_iter().for_each(|happening| self.pending.add(happening));
        if !self.pending.all.is_empty() {
            self.since.get_or_insert_with(Instant::now);
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
            // Nothing was announced, so nothing is over.
            FromServer::Acts(acts) if acts.is_empty() => self.ready = true,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_the_same_is_not_told_and_the_order_of_the_rest_is_kept() {
        use What::{Attributes, Changed, Closed, Created, Deleted};
        let told = |happened: &[(&str, What)]| {
            let mut pending = Pending::default();
            for (name, what) in happened {
                pending.add(Happening { dir: 1, name: name.as_bytes().to_vec(), what: *what, directory: false });
            }
            pending.take().into_iter().map(|h| (String::from_utf8(h.name).expect("text"), h.what)).collect::<Vec<_>>()
        };
        let list =
            |all: &[(&str, What)]| all.iter().map(|(name, what)| ((*name).to_owned(), *what)).collect::<Vec<_>>();
        let lines = [("f", Changed), ("f", Closed)].repeat(1000);
        assert_eq!(told(&lines), list(&lines[..2]));
        let two = [("f", Changed), ("g", Changed)].repeat(1000);
        assert_eq!(told(&two), list(&two[..2]));
        for kept in [
            &[("f", Changed), ("f", Attributes), ("f", Changed)][..],
            &[("f", Changed), ("f", Deleted), ("f", Created), ("f", Changed)],
            &[("f", Created), ("f", Deleted), ("f", Created), ("f", Deleted)],
        ] {
            assert_eq!(told(kept), list(kept));
        }
    }
}
