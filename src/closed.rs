//! Which of stdin, stdout and stderr were closed when we were started. The runtime opens `/dev/null` in their place before
//! `main`, so somebody has to look before that.

use std::sync::atomic::{AtomicU8, Ordering};

/// One bit each.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Run by the loader, before the runtime.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for fd in 0..3 {
        // SAFETY: F_GETFD only asks whether the number is a descriptor.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

/// What was seen.
pub(crate) fn at_start() -> [bool; 3] {
    // Named, so that no linker leaves it out.
    std::hint::black_box(&raw const LOOK);
    let bits = CLOSED.load(Ordering::Relaxed);
    [0, 1, 2].map(|fd| bits & 1 << fd != 0)
}
