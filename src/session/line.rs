//! What the guest is told, one frame after the other. A task writes it, so that a guest that does not read keeps nobody here
//! from hearing of signals, of a window that was closed and of a disk that is full.

use super::converse::lost;
use crate::error::Result;
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vmclaude_init::wire::proto::{self, ToGuest};

/// How many frames may wait for a guest that reads late. They are small, and a window that is resized for a minute sends
/// hundreds.
const WAITING: usize = 4096;

/// See the module. Before [`Line::begin`] and after [`Line::end`] nobody can be told anything.
#[derive(Debug, Default)]
pub(super) struct Line(Option<(mpsc::Sender<ToGuest>, JoinHandle<()>)>);

impl Line {
    /// Tells the first frame, and waits until it is written.
    ///
    /// # Errors
    /// When the guest is lost, or does not read within `limit`.
    pub(super) async fn begin(
        &mut self,
        mut to: impl AsyncWrite + Unpin + Send + 'static,
        first: &ToGuest,
        limit: Duration,
    ) -> Result<()> {
        let written = timeout(limit, proto::send(&mut to, first)).await;
        written.map_err(|_| lost(format!("it did not listen for {} s", limit.as_secs())))?.map_err(lost)?;
        let (frames, mut queue) = mpsc::channel::<ToGuest>(WAITING);
        let writer = tokio::spawn(async move {
            while let Some(frame) = queue.recv().await {
                // Who reads from the guest says that it is gone.
                if proto::send(&mut to, &frame).await.is_err() {
                    return;
                }
            }
        });
        self.0 = Some((frames, writer));
        Ok(())
    }

    /// Tells one frame, in its turn.
    ///
    /// # Errors
    /// When the guest is lost, or has not listened for long.
    pub(super) fn say(&self, frame: ToGuest) -> Result<()> {
        let (frames, _) = self.0.as_ref().ok_or_else(|| lost("nobody listens"))?;
        frames.try_send(frame).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => lost("it does not listen"),
            mpsc::error::TrySendError::Closed(_) => lost("its wire ended"),
        })
    }

    /// Tells the last frame, and waits until all is written, but not for longer than `limit`.
    pub(super) async fn end(&mut self, last: ToGuest, limit: Duration) {
        let said = self.say(last);
        if let (Ok(()), Some((frames, writer))) = (said, self.0.take()) {
            drop(frames);
            let _ = timeout(limit, writer).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async { timeout(LIMIT, test).await.expect("nothing waits for ever") });
    }

    #[test]
    fn frames_arrive_in_order_and_the_last_one_is_waited_for() {
        run(async {
            let (near, mut far) = tokio::io::duplex(64 << 10);
            let mut line = Line::default();
            assert!(line.say(ToGuest::HungUp).is_err(), "nobody listens yet");
            line.begin(near, &ToGuest::UseMemory, LIMIT).await.expect("begins");
            line.say(ToGuest::Clock(1, 2)).expect("said");
            line.end(ToGuest::ExitAck, LIMIT).await;
            for want in [ToGuest::UseMemory, ToGuest::Clock(1, 2), ToGuest::ExitAck] {
                let got = proto::receive(&mut far, proto::MAX_TO_GUEST).await.expect("a frame");
                assert_eq!(got, Some(want));
            }
            assert!(line.say(ToGuest::HungUp).is_err(), "it is over");
        });
    }

    #[test]
    fn a_guest_that_does_not_read_is_lost_and_keeps_nobody_waiting() {
        run(async {
            let (near, _far) = tokio::io::duplex(16);
            let mut line = Line::default();
            let clock = ToGuest::Clock(u64::MAX, 7);
            line.begin(near, &ToGuest::UseMemory, LIMIT).await.expect("it takes a little");
            let told = (0..=2 * WAITING).take_while(|_| line.say(clock.clone()).is_ok()).count();
            assert!((WAITING..=WAITING + 2).contains(&told), "{told}");
            line.end(ToGuest::ExitAck, Duration::from_millis(1)).await;
            let (near, _far) = tokio::io::duplex(1);
            let begun = Line::default().begin(near, &clock, Duration::from_millis(1)).await;
            assert!(begun.is_err(), "nor is the first frame waited for without a limit");
        });
    }
}
