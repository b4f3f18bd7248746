//! The two queues of the share's device: requests, and what the guest has forgotten.
//!
//! What a message costs is not the work but the waking: we are kicked, the guest is interrupted, and there a thread of the kernel
//! looks who waits for the answer. Nobody waits when the guest has forgotten a file, which it does each time that it has looked at
//! one. So those messages are read a little later, all together, and without a kick for each.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use vhost::vhost_user::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::bitmap::BitmapMmapRegion;
use vhost_user_backend::{VhostUserBackend, VringMutex, VringState, VringT};
use virtio_queue::{QueueOwnedT, QueueT};
use virtiofsd::descriptor_utils::{Reader, Writer};
use virtiofsd::filesystem::FileSystem;
use virtiofsd::server::Server;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::{Epoll, EpollEvent, EventSet};
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

/// The guest's memory.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap<BitmapMmapRegion>>;
type Vring = VringMutex<Memory>;
type State = VringState<Memory>;

/// The queue of what is forgotten.
const FORGOTTEN: usize = 0;
/// The queue of requests.
const REQUESTS: usize = 1;
const QUEUES: usize = 2;
/// The number of the event that something waits no longer; those up to the number of queues are taken.
pub(super) const DUE: u16 = 3;
/// How long what nobody waits for may wait, in milliseconds.
const LATER: i32 = 5;
/// The longest queue that there can be.
const LONGEST: usize = 32768;
/// What is said of the device: that it is a modern one, its descriptors may be in tables of their own, and either side says after
/// which message it wants to be woken.
const FEATURES: u64 = 1 << 32 | 1 << 28 | 1 << 29;

/// See the module.
pub(super) struct Queues<F: FileSystem + Sync> {
    server: Server<F>,
    memory: RwLock<Option<Memory>>,
    later: Later,
}

impl<F: FileSystem + Send + Sync + 'static> Queues<F> {
    /// Serves `fs`; with what becomes readable when [`DUE`] is to be handled.
    pub(super) fn new(fs: F) -> io::Result<(Queues<F>, EventConsumer)> {
        let (due, notifier) = new_event_consumer_and_notifier(EventFlag::NONBLOCK)?;
        let later = Later::new(due.try_clone()?, notifier)?;
        Ok((Queues { server: Server::new(fs), memory: RwLock::default(), later }, due))
    }

    /// Does what waits in a queue, and calls `done` after each; says whether there was something.
    fn serve(&self, vring: &mut State, done: impl Fn(&mut State) -> io::Result<()>) -> io::Result<bool> {
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        let memory = memory.as_ref().ok_or(io::ErrorKind::NotConnected)?.memory();
        let chains: Vec<_> = vring.get_queue_mut().iter(memory.clone()).map_err(io::Error::other)?.collect();
        let any = !chains.is_empty();
        for chain in chains {
            let head = chain.head_index();
            let reader = Reader::new(&memory, chain.clone()).map_err(io::Error::other)?;
            let writer = Writer::new(&memory, chain).map_err(io::Error::other)?;
            let length = self.server.handle_message(reader, writer, None::<&mut ()>).map_err(io::Error::other)?;
            vring.add_used(head, u32::try_from(length).unwrap_or(u32::MAX)).map_err(io::Error::other)?;
            done(vring)?;
        }
        Ok(any)
    }

    fn requests(&self, vring: &mut State) -> io::Result<()> {
        loop {
            vring.disable_notification().map_err(io::Error::other)?;
            self.serve(vring, wake)?;
            if !vring.enable_notification().map_err(io::Error::other)? {
                return Ok(());
            }
        }
    }

    /// As long as something comes, it is looked for again after a while; then the guest has to kick.
    fn forgotten(&self, vring: &mut State) -> io::Result<()> {
        vring.disable_notification().map_err(io::Error::other)?;
        if self.serve(vring, |_| Ok(()))? {
            wake(vring)?;
        } else if !vring.enable_notification().map_err(io::Error::other)? {
            return Ok(());
        }
        self.later.arm();
        Ok(())
    }

    fn handle(&self, event: u16, vrings: &[Vring]) -> io::Result<()> {
        let queues = match usize::from(event) {
            REQUESTS => REQUESTS..=REQUESTS,
            FORGOTTEN if self.later.arm() => return Ok(()),
            // Kicked although it is looked for anyway: there are more than the queue can take.
            FORGOTTEN => FORGOTTEN..=FORGOTTEN,
            _ => {
                self.later.done();
                FORGOTTEN..=REQUESTS
            }
        };
        for queue in queues {
            let mut vring = vrings[queue].get_mut();
            if !vring.is_enabled() || !vring.get_queue().ready() {
                // The machine stands still, or has just begun to go on: what is in the queue is not lost.
                self.later.arm();
            } else if queue == REQUESTS {
                self.requests(&mut vring)?;
            } else {
                self.forgotten(&mut vring)?;
            }
        }
        Ok(())
    }
}

/// Wakes the guest, if it wants that.
fn wake(vring: &mut State) -> io::Result<()> {
    if vring.needs_notification().unwrap_or(true) { vring.signal_used_queue() } else { Ok(()) }
}

/// Says when what was put off is due.
struct Later {
    armed: Arc<AtomicBool>,
    to: SyncSender<()>,
    due: EventConsumer,
}

impl Later {
    fn new(due: EventConsumer, notifier: EventNotifier) -> io::Result<Later> {
        let (to, from) = sync_channel(1);
        let armed = Arc::new(AtomicBool::new(false));
        let (shared, still) = (armed.clone(), Epoll::new()?);
        std::thread::Builder::new().spawn(move || clock(&from, &shared, &notifier, &still))?;
        Ok(Later { armed, to, due })
    }

    /// From now on something waits; says whether nothing did before.
    fn arm(&self) -> bool {
        let first = !self.armed.swap(true, Ordering::AcqRel);
        if first {
            let _ = self.to.try_send(());
        }
        first
    }

    /// It is due, and nobody has to be told again.
    fn done(&self) {
        let _ = self.due.consume();
    }
}

/// There is a thread for this because a timer of the kernel's is none of the system calls that the server may do. Nor is the one by
/// which most waits with a limit go on when this process stood still, as it does while the host sleeps; this one ends then.
fn clock(armed: &Receiver<()>, shared: &AtomicBool, due: &EventNotifier, still: &Epoll) {
    while armed.recv().is_ok() {
        let _ = still.wait(LATER, &mut [EpollEvent::default()]);
        shared.store(false, Ordering::Release);
        if due.notify().is_err() {
            return;
        }
    }
}

impl<F: FileSystem + Send + Sync + 'static> VhostUserBackend for Queues<F> {
    type Bitmap = BitmapMmapRegion;
    type Vring = Vring;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        LONGEST
    }

    fn features(&self) -> u64 {
        FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    fn reset_device(&self) {
        self.server.destroy();
    }

    fn set_event_idx(&self, _: bool) {}

    fn update_memory(&self, memory: Memory) -> io::Result<()> {
        *self.memory.write().unwrap_or_else(PoisonError::into_inner) = Some(memory);
        Ok(())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "whoever serves otherwise waits for QEMU, and the guest for its files"
    )]
    fn handle_event(&self, event: u16, _: EventSet, vrings: &[Vring], _: usize) -> io::Result<()> {
        // A guest that sends what is no message has no share any more, and the session ends with its server.
        self.handle(event, vrings).or_else(|_| std::process::exit(1))
    }

    fn exit_event(&self, _: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::NONBLOCK).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use virtiofsd::filesystem::SerializableFileSystem;
    use virtiofsd::read_dir::ReadDir;

    /// It is asked nothing.
    struct Nothing;

    impl FileSystem for Nothing {
        type Inode = u64;
        type Handle = u64;
        type DirIter = ReadDir<Vec<u8>>;
    }

    impl SerializableFileSystem for Nothing {}

    #[test]
    fn a_machine_that_stands_still_is_no_error_and_is_looked_at_again() {
        let (queues, due) = Queues::new(Nothing).expect("queues");
        let memory = Memory::new(GuestMemoryMmap::new());
        queues.update_memory(memory.clone()).expect("memory");
        let vrings = [0, 1].map(|_| Vring::new(memory.clone(), 16).expect("a queue"));
        for event in [REQUESTS as u16, FORGOTTEN as u16, FORGOTTEN as u16, DUE] {
            for enabled in [false, true] {
                vrings.iter().for_each(|vring| vring.set_enabled(enabled));
                queues.handle(event, &vrings).expect("nothing to do");
                let end = std::time::Instant::now() + Duration::from_secs(20);
                while due.consume().is_err() {
                    assert!(std::time::Instant::now() < end, "it is forgotten: {event} {enabled}");
                    std::thread::yield_now();
                }
            }
        }
    }
}
