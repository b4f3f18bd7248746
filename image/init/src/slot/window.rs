//! Registers of a device in memory.

use crate::sys::at;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;

/// Registers in memory, mapped for as long as this process lives.
pub(super) struct Window(NonNull<u8>);

// SAFETY: the mapping is this value's alone, and belongs to no thread.
unsafe impl Send for Window {}

impl Window {
    /// A part, within one page, of a device's window. The kernel's own driver has it as well, so it must be told that this is wanted
    /// (`iomem=relaxed`).
    pub(super) fn open(device: &Path, (number, place): (u8, usize), len: usize) -> io::Result<Window> {
        const PAGE: usize = 4096;
        if place % PAGE + len > PAGE {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let path = device.join(format!("resource{number}"));
        let file = super::open(&path)?;
        let (read_write, offset) = (libc::PROT_READ | libc::PROT_WRITE, (place - place % PAGE) as libc::off_t);
        // SAFETY: a new mapping where the kernel likes it.
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), PAGE, read_write, libc::MAP_SHARED, file.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(at("cannot map", &path, io::Error::last_os_error()));
        }
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: it lies in the page that was just mapped.
        Ok(Window(unsafe { start.add(place % PAGE) }))
    }

    /// A register. Callers stay below the length that they opened, at places that suit the register's size.
    pub(super) fn get<T: Copy>(&self, place: usize) -> T {
        // SAFETY: mapped, see above; registers are read and written in one piece and belong to nobody else.
        unsafe { self.0.as_ptr().add(place).cast::<T>().read_volatile() }
    }

    pub(super) fn put<T: Copy>(&self, place: usize, value: T) {
        // SAFETY: as above.
        unsafe { self.0.as_ptr().add(place).cast::<T>().write_volatile(value) };
    }
}
