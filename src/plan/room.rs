//! Whether the host has memory left for one more machine. Decided before it starts: a host that swaps ends everybody's work.

use crate::error::{Failure, Result};

/// A machine that runs: what its memory may grow to, and what of that is there, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The most.
    pub most: u64,
    /// Now.
    pub now: u64,
}

/// What a machine is taken to need soon after its start, in MiB, however much it may grow to: system, Claude Code and its
/// files. Most never need more, and a first session must be possible on a small host.
const START: u64 = 1024;
/// What is left to the host: a share of its memory, and never more than this, in MiB.
const SPARE_PART: u64 = 16;
const SPARE_MOST: u64 = 1024;

/// Refuses a machine of `wanted` MiB when the running ones may still grow into what is available, and so it could not
/// have what it needs. `total` and `available`: the host's memory, and what of it can be had without swapping, in MiB.
///
/// # Errors
/// Exit 125, with the numbers and what to do.
pub fn check(total: u64, available: u64, running: &[Held], wanted: u64) -> Result<()> {
    let growth: u64 = running.iter().map(|held| held.most.saturating_sub(held.now)).sum();
    let spare = (total / SPARE_PART).min(SPARE_MOST);
    let needed = wanted.min(START);
    if needed + growth + spare <= available {
        return Ok(());
    }
    let failure = Failure::new("there is not enough memory for another virtual machine")
        .because(format!("{available} MiB are available, and {spare} MiB are left to this host"));
    let failure = match running {
        [] => failure,
        [_] => failure.because(format!("the one that runs may still grow by {growth} MiB")),
        many => failure.because(format!("the {} that run may still grow by {growth} MiB", many.len())),
    };
    let failure = failure.because(format!("this one needs {needed} MiB to start"));
    Err(match running {
        [] => failure.next("close something large, and then the same command again"),
        _ => failure.next(
            "vmclaude session list   # then: vmclaude session stop ID; or smaller ones: memory = \"1G\" in config.toml",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Held = Held { most: 1024, now: 200 };

    #[test]
    fn machines_start_until_the_running_ones_could_take_the_rest() {
        // Each takes 200 MiB at its start and may grow to 1 GiB.
        let fits = |n: u64| check(24 << 10, (22 << 10) - 200 * n, &vec![FRESH; n as usize], 1024);
        let most = (0..100).find(|n| fits(*n).is_err()).expect("some day it is enough");
        assert_eq!(most, 21, "20 + 1 GiB, and one spare");
        let refused = fits(most).expect_err("refused");
        assert_eq!(refused.code, crate::exit::VM_FAILED);
        assert!(refused.because[1].contains("the 21 that run may still grow by 17304 MiB"), "{refused}");
    }

    #[test]
    fn the_first_one_starts_on_a_small_host_and_a_full_one_says_so() {
        assert!(check(4 << 10, 1400, &[], 2048).is_ok(), "it may grow to more than there is: one alone does no harm");
        assert!(check(4 << 10, 1100, &[], 2048).is_err());
        assert!(check(4 << 10, 800, &[], 512).is_ok());
        let alone = check(1 << 10, 100, &[], 512).expect_err("full");
        assert!(alone.next.is_some_and(|next| next.contains("close something")));
    }

    #[test]
    fn a_machine_that_has_all_it_may_have_grows_no_more() {
        let full = Held { most: 4096, now: 4200 };
        assert!(check(16 << 10, 2100, &[full; 3], 4096).is_ok());
    }
}
