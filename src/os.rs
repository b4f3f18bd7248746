//! What Linux can do and other systems cannot, in one place. Elsewhere nothing depends on it: QEMU and its share server are
//! Linux's alone.

pub use here::{die_with_parent, populate, punch_hole};

#[cfg(target_os = "linux")]
mod here {
    use nix::fcntl::{FallocateFlags, fallocate};
    use nix::sys::signal::Signal;
    use std::fs::File;

    /// Has the kernel send `signal` to this process when its parent dies. Only makes a system call, so it may be called
    /// between fork and exec.
    ///
    /// # Errors
    /// The kernel's.
    pub fn die_with_parent(signal: Signal) -> std::io::Result<()> {
        Ok(nix::sys::prctl::set_pdeathsig(signal)?)
    }

    /// Gives the room of this part of a file back, whose bytes are zeroes from then on. Its length stays.
    ///
    /// # Errors
    /// The kernel's.
    pub fn punch_hole(file: &File, from: i64, len: i64) -> std::io::Result<()> {
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        Ok(fallocate(file, punch, from, len)?)
    }

    /// Finds pages for this memory now, so that nobody is stopped when there are none. `false`: this kernel cannot do it.
    ///
    /// # Errors
    /// The kernel's, which has no pages left.
    pub fn populate(memory: &mut [u8]) -> std::io::Result<bool> {
        const PAGE: usize = 4096;
        let before = memory.as_ptr().addr() % PAGE;
        let start = memory.as_mut_ptr().wrapping_sub(before);
        // SAFETY: nothing in memory becomes another; what is not mapped is an error.
        let rc = unsafe { nix::libc::madvise(start.cast(), before + memory.len(), nix::libc::MADV_POPULATE_WRITE) };
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            _ if rc == 0 => Ok(true),
            Some(nix::libc::EINVAL) => Ok(false),
            _ => Err(error),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod here {
    use nix::sys::signal::Signal;
    use std::fs::File;

    /// Nothing: the end of the wire, or of its input, tells a process that its parent is gone.
    ///
    /// # Errors
    /// None.
    pub fn die_with_parent(_: Signal) -> std::io::Result<()> {
        Ok(())
    }

    /// Nothing.
    ///
    /// # Errors
    /// None.
    pub fn populate(_: &mut [u8]) -> std::io::Result<bool> {
        Ok(false)
    }

    /// Nothing: the file keeps its room.
    ///
    /// # Errors
    /// None.
    pub fn punch_hole(_: &File, _: i64, _: i64) -> std::io::Result<()> {
        Ok(())
    }
}
