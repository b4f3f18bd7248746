//! When the phases of a run were reached, for `VMCLAUDE_PROFILE=1`. Kept for the whole process: threads take part.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static MARKS: Mutex<Vec<(&str, Duration)>> = Mutex::new(Vec::new());

/// Remembers that this phase was reached now. The first call is the start.
pub fn mark(phase: &'static str) {
    let since = START.elapsed();
    MARKS.lock().unwrap_or_else(PoisonError::into_inner).push((phase, since));
}

/// The phases so far, in their order, each with the time since the start.
pub fn phases() -> Vec<(&'static str, Duration)> {
    let mut phases = MARKS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    phases.sort_by_key(|(_, since)| *since);
    phases
}
