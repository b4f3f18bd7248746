//! A template's file: what the memory, the scratch disk and the state of devices held, without what was zero.
//!
//! The bytes of all pieces one after the other, without what follows from them ([`rows`]), then an index of where they belong, then the index's length, its sum and
//! eight letters. Sums find damage, not malice: the file is ours alone. A reader trusts nothing that does not add up.

use super::mapped::Mapped;
use super::rows::{self, Row};
use crate::error::{Context, Failure, Result};
use crate::files;
use crate::os;
use nix::unistd::Whence;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const MAGIC: &[u8; 8] = b"vmctmpl2";
const TRAILER: u64 = 20;
/// The longest piece: what one read and one write move.
const PIECE: usize = 256 << 10;
const PAGE: usize = 4096;
/// Threads that lay out at most: more would wait for memory.
const WORKERS: usize = 4;
/// Zeroes up to this length are kept, because a piece more costs more.
const GAP: usize = 4 * PAGE;
/// The largest index and the largest state of devices that make sense.
const LARGEST: u64 = 64 << 20;

/// What is in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    memory: Part,
    scratch: Part,
    state: Part,
}

/// One of the three: its size when it is laid out, and the pieces that are not zero, in the order of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) size: u64,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Piece {
    /// Where it belongs.
    to: u64,
    /// Where it is in the file.
    from: u64,
    len: usize,
    /// What of it is not in the file, because it follows from what is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rows: Vec<Row>,
    /// How much of it is in the file, and the sum of that.
    kept: usize,
    sum: u32,
}

/// An opened template whose index adds up.
pub(in crate::session) struct Template {
    file: File,
    index: Index,
}

impl Template {
    /// Opens it; the error says why it is of no use.
    pub(in crate::session) fn open(path: &Path) -> Result<Template> {
        let bad = |why: &dyn std::fmt::Display| Failure::new("the template is damaged").because(why);
        let file = File::open(path).map_err(|e| bad(&e))?;
        let meta = file.metadata().map_err(|e| bad(&e))?;
        files::check_private(path, &meta)?;
        let index = read_index(&file, meta.size()).map_err(|e| bad(&e))?;
        Ok(Template { file, index })
    }

    pub(super) fn memory(&self) -> &Part {
        &self.index.memory
    }

    pub(super) fn scratch(&self) -> &Part {
        &self.index.scratch
    }

    /// The state of devices.
    pub(super) fn state(&self) -> io::Result<Vec<u8>> {
        let mut state = Vec::new();
        for piece in &self.index.state.pieces {
            let start = state.len();
            state.resize(start + piece.len, 0);
            self.read(piece, &mut state[start..])?;
        }
        Ok(state)
    }

    /// Lays `part` out in a file that has its size and nothing in it. What comes back maps it, and takes its time to be dropped.
    ///
    /// On a machine with two processors both have enough to do: QEMU starts meanwhile.
    pub(super) fn lay_out(&self, part: &Part, to: &File) -> io::Result<Mapped> {
        let mapped = Mapped::new(to)?;
        let next = AtomicUsize::new(0);
        let work = || -> io::Result<()> {
            while let Some(piece) = part.pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                // SAFETY: pieces do not overlap, and each is taken once.
                let there = unsafe { mapped.part(piece.to, piece.len) };
                self.put(piece, there.ok_or_else(|| broken("a piece lies beyond the end"))?, to)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS) - 1;
            let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
            let done =
                others.into_iter().map(|other| other.join().unwrap_or_else(|_| Err(broken("it cannot be read"))));
            done.fold(work(), |all, one| all.and(one))
        })?;
        Ok(mapped)
    }

    fn put(&self, piece: &Piece, there: &mut [u8], to: &File) -> io::Result<()> {
        match os::populate(there)? {
            true => self.read(piece, there),
            false => self.write(piece, to),
        }
    }

    /// The same for a file on a disk, of which there is little.
    pub(super) fn copy(&self, part: &Part, to: &File) -> io::Result<()> {
        part.pieces.iter().try_for_each(|piece| self.write(piece, to))
    }

    fn write(&self, piece: &Piece, to: &File) -> io::Result<()> {
        let mut bytes = vec![0; piece.len];
        self.read(piece, &mut bytes)?;
        to.write_all_at(&bytes, piece.to)
    }

    fn read(&self, piece: &Piece, bytes: &mut [u8]) -> io::Result<()> {
        if piece.rows.is_empty() && piece.kept == bytes.len() {
            return self.read_kept(piece, bytes);
        }
        let mut kept = vec![0; piece.kept];
        self.read_kept(piece, &mut kept)?;
        rows::unpack(&piece.rows, &kept, bytes)
    }

    fn read_kept(&self, piece: &Piece, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, piece.from)?;
        match crc32fast::hash(bytes) == piece.sum {
            true => Ok(()),
            false => Err(broken(format!("the bytes at {} are not what was written", piece.from))),
        }
    }
}

fn read_index(file: &File, size: u64) -> io::Result<Index> {
    let mut trailer = [0; TRAILER as usize];
    let data_and_index = size.checked_sub(TRAILER).ok_or_else(|| broken("it is too short"))?;
    file.read_exact_at(&mut trailer, data_and_index)?;
    let (numbers, magic) = trailer.split_at(12);
    let (len, sum) = numbers.split_at(8);
    let len = u64::from_le_bytes(len.try_into().unwrap_or_default());
    if magic != MAGIC || len > data_and_index.min(LARGEST) {
        return Err(broken("its end is not one"));
    }
    let mut text = vec![0; usize::try_from(len).map_err(broken)?];
    file.read_exact_at(&mut text, data_and_index - len)?;
    if crc32fast::hash(&text).to_le_bytes() != sum {
        return Err(broken("its index is not what was written"));
    }
    let index: Index = serde_json::from_slice(&text).map_err(broken)?;
    let parts = [&index.memory, &index.scratch, &index.state];
    if !parts.iter().flat_map(|part| &part.pieces).all(|piece| piece.len.max(piece.kept) <= PIECE) {
        return Err(broken("a piece is too long"));
    }
    // Of the state, all pieces come one after the other anyway.
    let apart = |two: &[Piece]| two[0].to.checked_add(two[0].len as u64).is_some_and(|end| end <= two[1].to);
    match parts[..2].iter().all(|part| part.pieces.windows(2).all(apart)) {
        true => Ok(index),
        false => Err(broken("pieces overlap")),
    }
}

/// Writes a template: what `memory` and `scratch` hold, and `state`.
pub(super) fn write(to: &File, memory: &File, scratch: &File, state: &[u8]) -> Result<()> {
    let what = || "cannot write the template";
    let mut at = 0;
    let index = Index {
        memory: pack(memory, to, &mut at).what(what)?,
        scratch: pack(scratch, to, &mut at).what(what)?,
        state: {
            let mut part = Part { size: state.len() as u64, pieces: Vec::new() };
            for bytes in state.chunks(PIECE) {
                part.pieces.push(put(to, bytes, 0, &mut at).what(what)?);
            }
            part
        },
    };
    let text = serde_json::to_vec(&index).what(what)?;
    let mut end = text.clone();
    end.extend((text.len() as u64).to_le_bytes());
    end.extend(crc32fast::hash(&text).to_le_bytes());
    end.extend(MAGIC);
    to.write_all_at(&end, at).and_then(|()| to.sync_all()).what(what)
}

/// Appends what `from` holds, without its holes and zeroes.
fn pack(from: &File, to: &File, at: &mut u64) -> io::Result<Part> {
    let mut part = Part { size: from.metadata()?.len(), pieces: Vec::new() };
    let mut buffer = vec![0; PIECE];
    let mut next = 0;
    // ENXIO: no data behind this place.
    while let Ok(start) = nix::unistd::lseek(from, next, Whence::SeekData) {
        let end = nix::unistd::lseek(from, start, Whence::SeekHole)?;
        next = start;
        while next < end {
            let len = PIECE.min(usize::try_from(end - next).unwrap_or(PIECE));
            from.read_exact_at(&mut buffer[..len], next.cast_unsigned())?;
            for (first, last) in filled(&buffer[..len]) {
                part.pieces.push(put(to, &buffer[first..last], next.cast_unsigned() + first as u64, at)?);
            }
            next += len as i64;
        }
    }
    Ok(part)
}

fn put(file: &File, bytes: &[u8], to: u64, at: &mut u64) -> io::Result<Piece> {
    let (rows, kept) = rows::pack(bytes);
    file.write_all_at(&kept, *at)?;
    let piece = Piece { to, from: *at, len: bytes.len(), rows, kept: kept.len(), sum: crc32fast::hash(&kept) };
    *at += kept.len() as u64;
    Ok(piece)
}

/// The runs of pages that are not zero; runs that nearly touch are one.
fn filled(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (n, page) in bytes.chunks(PAGE).enumerate() {
        if page.iter().all(|b| *b == 0) {
            continue;
        }
        let (first, last) = (n * PAGE, n * PAGE + page.len());
        match runs.last_mut() {
            Some(run) if first - run.1 < GAP => run.1 = last,
            _ => runs.push((first, last)),
        }
    }
    runs
}

fn broken(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
