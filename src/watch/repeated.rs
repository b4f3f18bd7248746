//! Changes on the host that the guest repeats: seen here, told to the share server. `share::events` says why and how.

use super::ignored::Ignored;
use super::inotify::{Directory, Watches};
use super::pending::Pending;
use super::{IGNORE, Say, frames};
use crate::plan::Plan;
use crate::share::events::{FromServer, MAX_FRAME, ToServer};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::time::sleep_until;
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
        full: false,
        say,
    };
    server.set_nonblocking(true)?;
    let (from_guest, to_guest) = split(guest);
    serve(&mut watch, tokio::net::UnixStream::from_std(server)?.into_split(), (from_guest, to_guest)).await
}

/// Between the share server and the guest, each as what it says and how it is told.
async fn serve(
    watch: &mut Watch,
    (from_server, mut to_server): (impl Reads, impl AsyncWrite + Unpin),
    (from_guest, mut to_guest): (impl Reads, impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut server = frames::<FromServer>(from_server, MAX_FRAME);
    let mut guest = frames::<Noticed>(from_guest, MAX_TO_HOST);
    loop {
        let due = watch.pending.due();
        tokio::select! {
            message = server.recv() => match message {
                Some(message) => watch.hear(message, &mut to_server, &mut to_guest).await?,
                None => return Ok(()),
            },
            answer = guest.recv() => match answer {
                Some(answer) => watch.answered(answer, &mut to_server).await?,
                None => return Ok(()),
            },
            happened = watch.watches.happened(), if due.is_none() => {
                happened?;
                watch.look()?;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {
                watch.look()?;
                if let Some(now) = watch.pending.take(Instant::now()) {
                    send(&mut to_server, &ToServer::Happened(now)).await?;
                }
            }
        }
    }
}

/// What a task of its own can read from.
trait Reads: AsyncRead + Unpin + Send + 'static {}

impl<T: AsyncRead + Unpin + Send + 'static> Reads for T {}

struct Watch {
    roots: Vec<Directory>,
    ignored: Ignored,
    watches: Watches,
    pending: Pending,
    /// Whether it was said that not everything is told.
    full: bool,
    say: Say,
}

impl Watch {
    /// Reads what happened.
    fn look(&mut self) -> io::Result<()> {
        let happened = self.watches.read()?;
        self.pending.add(happened, Instant::now());
        if self.pending.lost {
            self.not_all("there were more than it keeps up with", IGNORE);
        }
        // What is stale in the guest then is so for a second at most, like everything there.
        if self.watches.overflowed {
            let next = "sudo sysctl -w fs.inotify.max_queued_events=131072";
            self.not_all("there were more at once than this machine keeps", next);
        }
        Ok(())
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
            FromServer::NotAll => {
                self.not_all("programs there go through more files at once than is kept track of", IGNORE)
            }
            // Nothing was announced, so nothing is over.
            FromServer::Acts(acts) if acts.is_empty() => self.pending.done(),
            FromServer::Acts(acts) => proto::send(to_guest, &acts).await?,
        }
        Ok(())
    }

    async fn answered(&mut self, answer: Noticed, to_server: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let message = match answer {
            Noticed::By(thread) => ToServer::By(thread),
            Noticed::All => ToServer::Done,
        };
        send(to_server, &message).await?;
        self.pending.done();
        Ok(())
    }

    /// Says once that something was not told, and why.
    fn not_all(&mut self, why: &str, next: &str) {
        if !std::mem::replace(&mut self.full, true) {
            let what = format!("not every change on the host reached watchers in the VM: {why}");
            (self.say)(what, Some(next.to_owned()));
        }
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
                if matches!(e.raw_os_error(), Some(libc::ENOSPC | libc::EMFILE | libc::ENOMEM)) {
                    let next = "sudo sysctl -w fs.inotify.max_user_watches=1048576";
                    self.not_all("this machine gives no more watches", next);
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
    use crate::share::events::What;
    use crate::watch::TOGETHER;
    use std::io::Write;
    use tokio::io::duplex;

    fn watch(dir: &Path) -> Watch {
        Watch {
            roots: vec![Directory::new("work", dir).expect("open")],
            ignored: Ignored::new(&[]),
            watches: Watches::new().expect("inotify"),
            pending: Pending::default(),
            full: false,
            say: Box::new(|what, _| panic!("{what}")),
        }
    }

    type Said = std::sync::Arc<std::sync::Mutex<Vec<(String, Option<String>)>>>;

    fn hearing(dir: &Path) -> (Watch, Said) {
        let said = Said::default();
        let heard = said.clone();
        let say: Say = Box::new(move |what, next| heard.lock().expect("lock").push((what, next)));
        (Watch { say, ..watch(dir) }, said)
    }

    #[track_caller]
    fn is_said_once(said: &Said, what: &str, next: &str) {
        let said = said.lock().expect("lock");
        let one = |(w, n): &(String, Option<String>)| w.contains(what) && n.as_ref().is_some_and(|n| n.contains(next));
        assert!(said.len() == 1 && one(&said[0]), "{said:?}");
    }

    /// As when a person stops the program with Ctrl-Z, and goes on.
    #[test]
    fn more_than_the_kernel_keeps_is_said_with_what_to_type() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (mut watch, said) = hearing(dir.path());
        assert!(watch.watch(1, b"work", b""));
        // One after the other, because more of the same to one file is joined.
        let mut files = ["a", "b"].map(|name| std::fs::File::create(dir.path().join(name)).expect("create"));
        watch.look().expect("read");
        assert!(said.lock().expect("lock").is_empty());
        let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a limit");
        for n in 0..=most.trim().parse().expect("a number") {
            let n: usize = n;
            files[n % 2].write_all(b".").expect("write");
        }
        watch.look().expect("read");
        watch.look().expect("read");
        is_said_once(&said, "than this machine keeps", "max_queued_events=");
    }

    #[tokio::test]
    async fn what_the_server_has_no_room_for_is_said_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (mut watch, said) = hearing(dir.path());
        for _ in 0..2 {
            watch.hear(FromServer::NotAll, &mut tokio::io::sink(), &mut tokio::io::sink()).await.expect("heard");
        }
        is_said_once(&said, "than is kept track of", "ignore =");
    }

    /// The host may not work for each line that somebody writes: it is woken now and then, and asks now and then.
    #[tokio::test]
    async fn who_writes_line_by_line_wakes_nobody_for_each() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut watch = watch(dir.path());
        let ((server, ours), (guest, theirs)) = (duplex(1 << 20), duplex(1 << 20));
        let (mut server, mut guest) = (split(server), split(guest));
        send(&mut server.1, &FromServer::Known(1, b"work".to_vec(), Vec::new())).await.expect("said");
        send(&mut guest.1, &Noticed::By(7)).await.expect("said");
        let task = tokio::spawn(async move {
            serve(&mut watch, split(ours), split(theirs)).await.expect("served");
            watch.watches.reads
        });
        let by = proto::receive::<ToServer>(&mut server.0, MAX_FRAME).await.expect("told");
        assert_eq!(by, Some(ToServer::By(7)));
        let start = Instant::now();
        let mut file = std::fs::File::create(dir.path().join("log")).expect("create");
        std::thread::spawn(move || {
            (0..20_000).for_each(|_| file.write_all(b"line\n").expect("write"));
            drop(file);
        });
        let (mut told, mut closed) = (0, false);
        while !closed {
            let happened = proto::receive::<ToServer>(&mut server.0, MAX_FRAME).await.expect("told");
            let Some(ToServer::Happened(happened)) = happened else { panic!("{happened:?}") };
            closed = happened.iter().any(|h| h.what == What::Closed);
            told += 1;
            // It was the guest itself.
            send(&mut server.1, &FromServer::Acts(Vec::new())).await.expect("said");
        }
        let took = usize::try_from(start.elapsed().as_millis()).expect("short");
        drop((server, guest));
        let reads = task.await.expect("ended");
        let turns = took / usize::try_from(TOGETHER.as_millis()).expect("short") + 1;
        assert!(told <= turns, "told {told} times in {took} ms");
        assert!(reads <= 2 * turns + 10, "read {reads} times in {took} ms");
    }
}
