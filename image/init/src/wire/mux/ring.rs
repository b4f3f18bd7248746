//! Memory that both sides see, for bulk data: bytes are put there, and a small frame says where they lie.
//!
//! The wire itself moves a few kilobytes at a time, each at the price of an interrupt. Each side writes to its own half, from
//! front to back and around; the other side takes every piece out at once and says how many it took. When a half is full,
//! bytes go in frames as they would without it, so nobody ever waits for room.

use super::frame::broken;
use std::collections::VecDeque;
use std::io;

/// The least that is worth its way through memory; less goes into a frame.
pub(super) const LEAST: usize = 4 << 10;
/// The most that one piece carries.
pub(super) const MOST: usize = 64 << 10;
/// Pieces lie apart by whole lines of the processors' caches.
const LINE: usize = 64;

/// Memory of which both sides see the same bytes. Places are counted from its start.
pub trait Memory: Send {
    /// Its bytes, at most 2^32.
    fn size(&self) -> usize;
    /// Puts `parts`, one behind the other, at `at`.
    ///
    /// # Errors
    /// The system's.
    fn put(&mut self, at: usize, parts: [&[u8]; 2]) -> io::Result<()>;
    /// Shows the `len` bytes at `at`, which the other side leaves alone until they are said to be taken.
    ///
    /// # Errors
    /// The system's.
    fn show(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// The memory, and what lies in our half.
pub(super) struct Ring {
    memory: Box<dyn Memory>,
    /// Where our half starts, and where the other's does.
    ours: usize,
    theirs: usize,
    half: usize,
    /// Where the next piece goes, counted from the start of our half.
    next: usize,
    /// The bytes of every piece under way, with what was left out in front of it.
    pieces: VecDeque<usize>,
    used: usize,
    /// Whether we may put anything there.
    open: bool,
    /// What the other side sent and we have not yet said to have taken: pieces and bytes.
    taken: (u32, usize),
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes in {} pieces", self.used, self.half, self.pieces.len())
    }
}

impl Ring {
    /// `first`: our half is the first one.
    pub(super) fn new(memory: Box<dyn Memory>, first: bool) -> Ring {
        let half = memory.size() / 2 / LINE * LINE;
        let (ours, theirs) = if first { (0, half) } else { (half, 0) };
        Ring { memory, ours, theirs, half, next: 0, pieces: VecDeque::new(), used: 0, open: false, taken: (0, 0) }
    }

    /// From now on pieces may be put there: the other side looks.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// Puts a piece into our half; `None` when it does not fit now, or is not worth it.
    pub(super) fn put(&mut self, parts: [&[u8]; 2]) -> Option<usize> {
        let len = parts[0].len() + parts[1].len();
        let size = len.next_multiple_of(LINE);
        // At the end of the half there may be too little room; the rest of it is left out.
        let skipped = if self.next + size > self.half { self.half - self.next } else { 0 };
        if !self.open || len < LEAST || self.used + skipped + size > self.half {
            return None;
        }
        let start = (self.next + skipped) % self.half;
        if self.memory.put(self.ours + start, parts).is_err() {
            self.open = false; // Frames do without it.
            return None;
        }
        self.next = (start + size) % self.half;
        self.used += skipped + size;
        self.pieces.push_back(skipped + size);
        Some(self.ours + start)
    }

    /// The other side took `count` pieces.
    pub(super) fn free(&mut self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            self.used -= self.pieces.pop_front().ok_or_else(|| broken("more was taken than was there"))?;
        }
        Ok(())
    }

    /// Takes a piece of the other side's.
    pub(super) fn take(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let inside = at >= self.theirs && len <= self.half && at - self.theirs <= self.half - len;
        if !inside {
            return Err(broken("a piece outside of its half"));
        }
        self.taken = (self.taken.0 + 1, self.taken.1 + len);
        self.memory.show(at, len, to)
    }

    /// Whether so much was taken that the other side should hear of it even if we have nothing else to say.
    pub(super) fn owes(&self) -> bool {
        self.has_taken() && (self.taken.1 * 4 >= self.half || self.taken.0 >= 64)
    }

    /// Whether anything was taken since this was last said.
    pub(super) fn has_taken(&self) -> bool {
        self.taken.0 > 0
    }

    /// How many pieces were taken since this was last asked for.
    pub(super) fn taken(&mut self) -> u32 {
        std::mem::take(&mut self.taken).0
    }
}
