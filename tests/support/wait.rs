//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// More than anything here takes on a machine that is busy with other virtual machines.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);

/// Waits until `is_so` gives a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(value) = is_so() {
            return value;
        }
        assert!(Instant::now() < end, "waited {LIMIT:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
