//! How much of what has come is read before everybody else has had a turn. Hundreds of streams may be full at once, and who reads
//! them copies until they are empty: a key, or a new connection, would wait for as long as all of that takes.

use super::core::Core;
use std::collections::VecDeque;
use std::task::Waker;

/// What is read, and what is taken in, from one turn of the driver's to the next.
pub(super) const ROUND: usize = 256 << 10;
/// Readers that go on in one round.
const READERS: usize = 4;
/// What is no work worth mentioning.
const LITTLE: usize = 4 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    read: usize,
    /// Taken in since the last round.
    pub(super) fed: usize,
    waiting: VecDeque<u32>,
}

impl Pace {
    /// How many of `n` bytes may be read now, of a stream that has `all`.
    pub(super) fn grant(&mut self, n: usize, all: usize) -> usize {
        if all <= LITTLE {
            return n;
        }
        let granted = n.min(ROUND.saturating_sub(self.read));
        self.read += granted;
        granted
    }

    /// A reader waits for the next round.
    pub(super) fn wait(&mut self, id: u32) {
        self.waiting.push_back(id);
    }
}

impl Core {
    /// A new round, in which some of those go on that wait for it; whether there are more.
    pub(super) fn next_round(&mut self) -> bool {
        (self.pace.read, self.pace.fed) = (0, 0);
        for _ in 0..READERS {
            let Some(id) = self.pace.waiting.pop_front() else { return false };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.paced = false;
                stream.reader.take().into_iter().for_each(Waker::wake);
            }
        }
        !self.pace.waiting.is_empty()
    }
}
