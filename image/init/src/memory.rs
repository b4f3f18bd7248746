//! Memory that the host sees too, for bulk data on the wire. Under QEMU the guest's memory is a file of the host's, so all
//! that it takes is to say where ours lies.
//!
//! It is one huge page: contiguous, and of those that the kernel never moves.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use tokio::io::AsyncWrite;
use vmclaude_init::wire::mux::{Memory, Wire};
use vmclaude_init::wire::proto::{self, SharedMemory, ToHost};

/// A huge page's size; half of it for each direction.
const SIZE: usize = 2 << 20;
const PAGE: u64 = 4096;
/// A page's number in an entry of `/proc/self/pagemap`, and the bit that says that it is in memory.
const FRAME: u64 = (1 << 55) - 1;
const PRESENT: u64 = 1 << 63;

/// The page, mapped for as long as this process lives, and where it lies in the machine's memory.
pub(crate) struct Shared {
    start: NonNull<u8>,
    address: u64,
}

// SAFETY: the mapping is this value's alone, and belongs to no thread.
unsafe impl Send for Shared {}

/// Takes the page. Before a template is saved, so that a copy has it.
///
/// # Errors
/// The kernel's; everything then goes in frames.
pub(crate) fn prepare() -> io::Result<Shared> {
    std::fs::write("/proc/sys/vm/nr_hugepages", "1")?;
    let (read_write, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | libc::MAP_HUGETLB);
    // Shared, because a private page would become another one when a process is forked.
    let flags = flags | libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping where the kernel likes it.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, read_write, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let mut entry = [0; 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, start.addr().get() as u64 / PAGE * 8)?;
    let entry = u64::from_ne_bytes(entry);
    match entry & FRAME {
        0 => Err(io::ErrorKind::Unsupported.into()),
        _ if entry & PRESENT == 0 => Err(io::ErrorKind::Unsupported.into()),
        frame => Ok(Shared { start, address: frame * PAGE }),
    }
}

/// Names the memory to the host. Without it everything goes in frames.
pub(crate) async fn offer(
    memory: io::Result<Shared>,
    wire: &Wire,
    to_host: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let frame = match memory {
        Ok(mut memory) => {
            let named = memory.name()?;
            wire.share_memory(Box::new(memory));
            ToHost::Memory(named)
        }
        Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(()),
        Err(e) => ToHost::Log(format!("no memory is shared: {e}")),
    };
    proto::send(to_host, &frame).await
}

impl Shared {
    /// What this process needs of it: it is mapped here, and no child has to get it or to give it back. Called behind the last
    /// fork that takes it along.
    pub(crate) fn settle(&mut self) {
        // SAFETY: the mapping is ours and this long, and a child that has not got it never knows of it.
        unsafe {
            libc::madvise(self.start.as_ptr().cast(), SIZE, libc::MADV_DONTFORK);
            self.start.as_ptr().read_volatile();
        }
    }

    /// What the host is told: where it is, and what it finds there if it looks at the right place.
    fn name(&mut self) -> io::Result<SharedMemory> {
        let mut mark = [0; 16];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut mark)?;
        self.put(0, [&mark, &[]])?;
        Ok(SharedMemory { address: self.address, size: SIZE as u32, mark })
    }
}

impl Memory for Shared {
    fn size(&self) -> usize {
        SIZE
    }

    fn put(&mut self, at: usize, parts: [&[u8]; 2]) -> io::Result<()> {
        let len = parts[0].len() + parts[1].len();
        if at.checked_add(len).is_none_or(|end| end > SIZE) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the parts fit into the mapping, which is not Rust's memory and overlaps with none of it.
        unsafe {
            let to = self.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(parts[0].as_ptr(), to, parts[0].len());
            std::ptr::copy_nonoverlapping(parts[1].as_ptr(), to.add(parts[0].len()), parts[1].len());
        }
        Ok(())
    }

    fn show(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if at.checked_add(len).is_none_or(|end| end > SIZE) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: it lies in the mapping, and the host leaves a piece alone until it was said to be taken.
        to(unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) });
        Ok(())
    }
}
