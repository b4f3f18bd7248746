//! How much room the host's disk has, and what that means for the guest's.

use std::path::Path;
use std::time::Duration;

/// Below so many bytes free, the guest's own disk stops growing; above twice as many it may grow again.
pub(super) const DISK_LOW: u64 = 256 << 20;

/// How soon a disk with so many bytes free is looked at again: before a guest that writes as fast as it can has filled it.
pub(super) fn look_again(free: u64) -> Duration {
    match free >> 30 {
        0..2 => Duration::from_millis(100),
        2..8 => Duration::from_millis(500),
        8..32 => Duration::from_secs(2),
        _ => Duration::from_secs(5),
    }
}

/// Whether the guest's own disks may grow no more, where `before` says how that was.
pub(super) fn is_full(before: bool, free: u64) -> bool {
    free < if before { 2 * DISK_LOW } else { DISK_LOW }
}

/// Bytes that this user may still write where `dir` is.
pub(super) fn free(dir: &Path) -> Option<u64> {
    let fs = nix::sys::statvfs::statvfs(dir).ok()?;
    #[allow(clippy::unnecessary_cast)] // other systems have other widths
    Some((fs.blocks_available() as u64).saturating_mul(fs.fragment_size() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_full_until_there_is_real_room() {
        // Half of what is kept back, at two GiB a second, with a machine's unwritten memory besides.
        assert!(
            look_again(DISK_LOW + 1) <= Duration::from_millis(100) && look_again(2 << 30) <= Duration::from_secs(1)
        );
        assert!(!is_full(false, DISK_LOW) && is_full(false, DISK_LOW - 1));
        assert!(is_full(true, DISK_LOW + 1) && !is_full(true, 2 * DISK_LOW));
    }
}
