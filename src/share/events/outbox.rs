//! What is to be told to whoever watches, until that is read.
//!
//! It is read slowly, or not at all while whoever watches waits for a guest that does not read, and a guest can make more of it
//! as fast as it likes. So only so much is kept.

use super::FromServer;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use vmclaude_init::wire::proto;

/// How many bytes are kept: tens of thousands of directories with paths as they are, a thousand with the longest ones.
pub(super) const MOST: usize = 4 << 20;

/// See the module.
pub(super) struct Outbox {
    to: Sender<FromServer>,
    kept: Arc<AtomicUsize>,
    /// Whether it was said that not everything is told.
    full: AtomicBool,
}

/// The other end of it.
pub(super) struct Messages {
    all: Receiver<FromServer>,
    kept: Arc<AtomicUsize>,
}

/// Both ends.
pub(super) fn outbox() -> (Outbox, Messages) {
    let (to, all) = std::sync::mpsc::channel();
    let kept = Arc::new(AtomicUsize::new(0));
    (Outbox { to, kept: kept.clone(), full: AtomicBool::new(false) }, Messages { all, kept })
}

impl Outbox {
    /// Tells this if there is room for it; says whether there was.
    pub(super) fn offer(&self, what: FromServer) -> bool {
        let room = self.kept() + size(&what) <= MOST;
        if room {
            self.send(what);
        }
        room
    }

    /// Tells this in any case: what is asked for, and whoever asks waits for the answer.
    pub(super) fn send(&self, what: FromServer) {
        let size = size(&what);
        self.kept.fetch_add(size, Ordering::Relaxed);
        if self.to.send(what).is_err() {
            // Nobody listens any more at the end of a run.
            self.kept.fetch_sub(size, Ordering::Relaxed);
        }
    }

    /// Tells once that not everything is told.
    pub(super) fn not_all(&self) {
        if !self.full.swap(true, Ordering::Relaxed) {
            self.send(FromServer::NotAll);
        }
    }

    /// How many bytes are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }
}

impl Messages {
    /// Writes all of it, until nobody reads any more.
    pub(super) fn tell(self, mut to: File) {
        for message in self.all {
            let sent = proto::encode(&message).and_then(|bytes| to.write_all(&bytes));
            if sent.is_err() {
                return;
            }
            self.kept.fetch_sub(size(&message), Ordering::Relaxed);
        }
    }
}

/// What it takes to keep this. Answers are not counted byte by byte: there is one at a time.
fn size(message: &FromServer) -> usize {
    let bytes = match message {
        FromServer::Known(_, tag, path) => tag.len() + path.len(),
        FromServer::Forgotten(_) | FromServer::Acts(_) | FromServer::NotAll => 0,
    };
    size_of::<FromServer>() + bytes
}
