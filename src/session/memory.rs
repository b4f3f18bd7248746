//! The guest's memory as the host sees it: a file. The guest names a part of it through which bulk data goes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use vmclaude_init::wire::mux::Memory;
use vmclaude_init::wire::proto::SharedMemory;

/// The most that a guest may name.
const MOST: u32 = 16 << 20;
/// By how much an address in the machine may be ahead of its place in the file: memory does not start at 0 everywhere, and
/// on a PC there is a hole below 4 GiB. The mark says which of them is right.
const AHEAD: [u64; 3] = [0, 2 << 30, 1 << 30];

/// The part that was named.
pub(super) struct Shared {
    file: File,
    start: u64,
    size: usize,
    seen: Vec<u8>,
}

/// The part that the guest named; `None` when it is not there. Whatever the guest says, this is inside of its memory.
pub(super) fn find(file: File, named: &SharedMemory) -> Option<Shared> {
    let end = file.metadata().ok()?.len();
    let size = Some(named.size).filter(|size| (1..=MOST).contains(size))?;
    let is_there = |start: &u64| {
        let mut mark = [0; 16];
        let inside = start.checked_add(size.into()).is_some_and(|last| last <= end);
        inside && file.read_exact_at(&mut mark, *start).is_ok() && mark == named.mark
    };
    let start = AHEAD.iter().filter_map(|ahead| named.address.checked_sub(*ahead)).find(is_there)?;
    Some(Shared { file, start, size: size as usize, seen: Vec::new() })
}

impl Shared {
    /// The place in the file, if all of it lies in the part.
    fn place(&self, at: usize, len: usize) -> io::Result<u64> {
        match at.checked_add(len).filter(|end| *end <= self.size) {
            Some(_) => Ok(self.start + at as u64),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

impl Memory for Shared {
    fn size(&self) -> usize {
        self.size
    }

    fn put(&mut self, at: usize, parts: [&[u8]; 2]) -> io::Result<()> {
        let place = self.place(at, parts[0].len() + parts[1].len())?;
        self.file.write_all_at(parts[0], place)?;
        self.file.write_all_at(parts[1], place + parts[0].len() as u64)
    }

    /// A copy of it: the guest may change its own at any time.
    fn show(&mut self, at: usize, len: usize, to: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let place = self.place(at, len)?;
        self.seen.resize(len.max(self.seen.len()), 0);
        self.file.read_exact_at(&mut self.seen[..len], place)?;
        to(&self.seen[..len]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: u64, size: u32) -> SharedMemory {
        SharedMemory { address, size, mark: *b"a mark of 16 b. " }
    }

    #[test]
    fn it_is_found_by_its_mark_and_never_outside_of_the_memory() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(3 << 30).expect("len");
        file.write_all_at(&named(0, 0).mark, 1 << 20).expect("write");
        let found = |named: SharedMemory| find(file.try_clone().expect("clone"), &named).map(|s| (s.start, s.size));
        assert_eq!(found(named(1 << 20, 4096)), Some((1 << 20, 4096)));
        assert_eq!(found(named((2 << 30) + (1 << 20), 4096)), Some((1 << 20, 4096)));
        for (address, size) in [(2 << 20, 4096), (1 << 20, 0), (1 << 20, MOST + 1), (u64::MAX, 4096), (3 << 30, 16)] {
            assert_eq!(found(named(address, size)), None, "{address} {size}");
        }
        file.write_all_at(&named(0, 0).mark, (3 << 30) - 16).expect("write");
        assert_eq!(found(named((3 << 30) - 16, 16)), Some(((3 << 30) - 16, 16)));
        assert_eq!(found(named((3 << 30) - 16, 17)), None);
    }

    #[test]
    fn what_is_put_is_shown_and_nothing_beyond_it_is() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(1 << 20).expect("len");
        file.write_all_at(&named(0, 0).mark, 4096).expect("write");
        let mut shared = find(file, &named(4096, 8192)).expect("there");
        shared.put(8185, [b"abc", b"defg"]).expect("put");
        let mut seen = Vec::new();
        shared.show(8185, 7, &mut |bytes| seen.extend_from_slice(bytes)).expect("show");
        assert_eq!(seen, b"abcdefg");
        assert!(shared.put(8186, [b"abc", b"defg"]).is_err() && shared.show(8186, 7, &mut |_| {}).is_err());
        assert!(shared.put(usize::MAX, [b"a", b""]).is_err());
    }
}
