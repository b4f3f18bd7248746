//! How much of what has come is read before everybody else has had a turn. Hundreds of streams may be full at once, and who reads
//! them copies until they are empty: a key, or a new connection, would wait for as long as all of that takes.

use super::core::Core;
use super::ring::{PORTION, Ring};
use std::collections::VecDeque;
use std::task::Waker;

/// A round, when nobody types.
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
    /// How many of `n` bytes may be read now, of a stream that has `all`, in a round of so many.
    pub(super) fn grant(&mut self, n: usize, all: usize, round: usize) -> usize {
        if all <= LITTLE {
            return n;
        }
        let granted = n.min(round.saturating_sub(self.read));
        self.read += granted;
        granted
    }

    /// A reader waits for the next round.
    pub(super) fn wait(&mut self, id: u32) {
        self.waiting.push_back(id);
    }
}

impl Core {
    /// What is read, and what is taken in, from one turn of the driver's to the next.
    pub(super) fn round(&self) -> usize {
        if self.ring.as_ref().is_some_and(Ring::is_quiet) { PORTION } else { ROUND }
    }

    /// Whether others should have their turn before more is taken in.
    pub(super) fn has_fed_enough(&self) -> bool {
        self.pace.fed >= self.round()
    }

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
