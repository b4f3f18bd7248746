//! What Linux can do and other systems cannot, in one place. Elsewhere nothing depends on it: QEMU and its share server are
//! Linux's alone.

pub use here::{die_with_parent, punch_hole};

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

    /// Nothing: the file keeps its room.
    ///
    /// # Errors
    /// None.
    pub fn punch_hole(_: &File, _: i64, _: i64) -> std::io::Result<()> {
        Ok(())
    }
}
