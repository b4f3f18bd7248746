//! Memory that both sides see, for bulk data: bytes are put there, and a small frame says where they lie.
//!
//! The wire itself moves a few kilobytes at a time, each at the price of an interrupt. Each side writes to its own half, from
//! front to back and around; the other side takes every piece out at once and says how many it took. When a half is full,
//! they wait: frames in their place would be slow, and keys would wait behind them.
//!
//! While somebody types, little is under way to the guest: a key waits for what is before it, on the way and with who reads it.

use super::frame::broken;
use std::collections::VecDeque;
use std::io;

/// The least that is worth its way through memory; less goes into a frame.
pub(super) const LEAST: usize = 4 << 10;
/// The most that one piece carries.
pub(super) const MOST: usize = 64 << 10;
/// The smallest half in which to wait: there is room again before so much of it is free that the other side says so.
const WORTH_WAITING: usize = 8 * MOST;
/// For so many bytes behind a key, about two seconds of a fast download, there is less under way to the guest: so much.
pub(super) const BEHIND_A_KEY: usize = 256 << 20;
pub(super) const PORTION: usize = 32 << 10;
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

/// What became of bytes that were to be put into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// They lie here.
    At(usize),
    /// They wait until something was taken.
    Later,
    /// They go in a frame.
    No,
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
    /// The bytes of every piece under way, with what was left out in front of it, and without.
    pieces: VecDeque<(usize, usize)>,
    used: usize,
    /// The bytes under way.
    under_way: usize,
    /// While somebody types: how many bytes to the guest that is still said of. Both sides count the same bytes.
    quiet: usize,
    /// It ended, and nobody was told.
    loud: bool,
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
        Ring {
            memory,
            ours,
            theirs,
            half,
            next: 0,
            pieces: VecDeque::new(),
            used: 0,
            under_way: 0,
            quiet: 0,
            loud: false,
            open: false,
            taken: (0, 0),
        }
    }

    /// From now on pieces may be put there: the other side looks.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// What the terminal said is on its way: from the host it is keys.
    pub(super) fn key_went(&mut self) {
        if !self.is_guest() {
            self.quiet = BEHIND_A_KEY;
        }
    }

    /// What the terminal said came: to the guest it is keys.
    pub(super) fn key_came(&mut self) {
        if self.is_guest() {
            self.quiet = BEHIND_A_KEY;
        }
    }

    /// Whether somebody types.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet > 0
    }

    /// The bytes under way to the other side.
    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether that has ended since this was last asked for.
    pub(super) fn got_loud(&mut self) -> bool {
        std::mem::take(&mut self.loud)
    }

    fn count(&mut self, len: usize) {
        self.loud |= self.quiet > 0 && self.quiet <= len;
        self.quiet = self.quiet.saturating_sub(len);
    }

    /// Our half is the guest's.
    fn is_guest(&self) -> bool {
        self.ours == 0
    }

    /// The most that the next piece carries.
    pub(super) fn most(&self) -> usize {
        if self.is_quiet() && !self.is_guest() { PORTION / 2 } else { MOST }
    }

    /// Puts a piece into our half, if it fits now and is worth it.
    pub(super) fn put(&mut self, parts: [&[u8]; 2]) -> Put {
        let len = parts[0].len() + parts[1].len();
        if !self.open || len < LEAST {
            return Put::No;
        }
        let size = len.next_multiple_of(LINE);
        // At the end of the half there may be too little room; the rest of it is left out.
        let skipped = if self.next + size > self.half { self.half - self.next } else { 0 };
        let portion = if self.is_quiet() && !self.is_guest() { PORTION } else { self.half };
        if self.used + skipped + size > self.half || self.under_way + len > portion {
            return if self.half >= WORTH_WAITING { Put::Later } else { Put::No };
        }
        let start = (self.next + skipped) % self.half;
        if self.memory.put(self.ours + start, parts).is_err() {
            self.open = false; // Frames do without it.
            return Put::No;
        }
        self.next = (start + size) % self.half;
        self.used += skipped + size;
        self.under_way += len;
        self.pieces.push_back((skipped + size, len));
        if !self.is_guest() {
            self.count(len);
        }
        Put::At(self.ours + start)
    }

    /// The other side took `count` pieces.
    pub(super) fn free(&mut self, count: u32) -> io::Result<()> {
        for _ in 0..count {
            let (size, len) = self.pieces.pop_front().ok_or_else(|| broken("more was taken than was there"))?;
            self.used -= size;
            self.under_way -= len;
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
        if self.is_guest() {
            self.count(len);
        }
        self.memory.show(at, len, to)
    }

    /// Whether so much was taken that the other side should hear of it even if we have nothing else to say.
    pub(super) fn owes(&self) -> bool {
        let (pieces, bytes) = self.taken;
        let awaited = self.is_quiet() && self.is_guest() && bytes >= PORTION / 2;
        self.has_taken() && (bytes * 4 >= self.half || pieces >= 64 || awaited)
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
