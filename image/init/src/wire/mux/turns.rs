//! Whose turn it is to send. The urgent ones come first. The others are in two lines, as in the kernel's `fq_codel`: who has
//! said nothing for a while gets a first turn beside those that have much to say, so that a question and its answer pass a
//! thousand downloads. The lines take turns, so that neither can keep the other waiting.

use std::collections::VecDeque;

/// What a stream may send before it is one of those that have much to say.
pub(super) const FIRST_TURN: usize = 64 << 10;

/// A line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Urgent,
    /// With so many bytes left of the first turn.
    Fresh(usize),
    Bulk,
}

/// The streams that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    urgent: VecDeque<u32>,
    fresh: VecDeque<(u32, usize)>,
    bulk: VecDeque<u32>,
    /// Those that wait for room, and where they were.
    parked: Vec<(u32, Line)>,
    /// Whether the line of the fresh had the last turn.
    fresh_had: bool,
}

impl Turns {
    /// Puts a stream at the end of a line.
    pub(super) fn wait(&mut self, id: u32, line: Line) {
        match line {
            Line::Urgent => self.urgent.push_back(id),
            Line::Fresh(left) => self.fresh.push_back((id, left)),
            Line::Bulk => self.bulk.push_back(id),
        }
    }

    /// Puts a stream back to where it was: it goes on with its turn.
    pub(super) fn go_on(&mut self, id: u32, line: Line) {
        match line {
            Line::Urgent => self.urgent.push_front(id),
            Line::Fresh(left) => self.fresh.push_front((id, left)),
            Line::Bulk => self.bulk.push_front(id),
        }
    }

    /// Keeps a stream's place until there is room for what it has to say.
    pub(super) fn park(&mut self, id: u32, line: Line) {
        self.parked.push((id, line));
    }

    /// There is room: those that wait for it are the first of their lines, in their order.
    pub(super) fn unpark(&mut self) {
        while let Some((id, line)) = self.parked.pop() {
            self.go_on(id, line);
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.urgent.len() + self.fresh.len() + self.bulk.len() + self.parked.len()
    }

    /// Forgets all but some.
    pub(super) fn keep(&mut self, these: impl Fn(u32) -> bool) {
        self.urgent.retain(|id| these(*id));
        self.fresh.retain(|(id, _)| these(*id));
        self.bulk.retain(|id| these(*id));
        self.parked.retain(|(id, _)| these(*id));
    }

    /// Whether somebody urgent waits.
    pub(super) fn is_urgent(&self) -> bool {
        !self.urgent.is_empty()
    }

    /// The next one, and the line that it was in.
    pub(super) fn next(&mut self) -> Option<(u32, Line)> {
        if let Some(id) = self.urgent.pop_front() {
            return Some((id, Line::Urgent));
        }
        self.fresh_had = !self.fresh.is_empty() && (self.bulk.is_empty() || !self.fresh_had);
        match self.fresh_had {
            true => self.fresh.pop_front().map(|(id, left)| (id, Line::Fresh(left))),
            false => self.bulk.pop_front().map(|id| (id, Line::Bulk)),
        }
    }
}
