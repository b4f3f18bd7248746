//! A template's file: what the memory, the scratch disk and the state of devices held, without what was zero.
//!
//! The bytes of all pieces one after the other, then an index of where they belong, then the index's length, its sum and
//! eight letters. Sums find damage, not malice: the file is ours alone. A reader trusts nothing that does not add up.

use crate::error::{Context, Failure, Result};
use crate::files;
use nix::unistd::Whence;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc::sync_channel;

const MAGIC: &[u8; 8] = b"vmctmpl1";
const TRAILER: u64 = 20;
/// The longest piece: what one read and one write move.
const PIECE: usize = 256 << 10;
const PAGE: usize = 4096;
/// Pieces that are read ahead of the writer. More would not stay in the processor's cache.
const BUFFERS: usize = 3;
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

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Piece {
    /// Where it belongs.
    to: u64,
    /// Where it is in the file.
    from: u64,
    len: usize,
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

    /// Lays `part` out in a file that has its size and nothing in it. One thread reads and one writes: of several that write, the
    /// kernel would let one, and the others would burn the processor that QEMU starts on.
    pub(super) fn lay_out(&self, part: &Part, to: &File) -> io::Result<()> {
        let (full, filled) = sync_channel::<(&Piece, Vec<u8>)>(BUFFERS);
        let (empty, emptied) = sync_channel(BUFFERS);
        (0..BUFFERS).for_each(|_| drop(empty.send(vec![0; PIECE])));
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || -> io::Result<()> {
                for (piece, mut buffer) in part.pieces.iter().zip(emptied) {
                    self.read(piece, &mut buffer[..piece.len])?;
                    if full.send((piece, buffer)).is_err() {
                        break; // The writer has failed, and says so.
                    }
                }
                Ok(())
            });
            for (piece, buffer) in filled {
                to.write_all_at(&buffer[..piece.len], piece.to)?;
                let _ = empty.send(buffer);
            }
            reader.join().unwrap_or_else(|_| Err(broken("it cannot be read")))
        })
    }

    fn read(&self, piece: &Piece, bytes: &mut [u8]) -> io::Result<()> {
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
    match parts.iter().flat_map(|part| &part.pieces).all(|piece| piece.len <= PIECE) {
        true => Ok(index),
        false => Err(broken("a piece is too long")),
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
    file.write_all_at(bytes, *at)?;
    let piece = Piece { to, from: *at, len: bytes.len(), sum: crc32fast::hash(bytes) };
    *at += bytes.len() as u64;
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
mod tests {
    use super::*;

    fn sparse(pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().expect("file");
        file.set_len(8 << 20).expect("len");
        pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).expect("write"));
        file
    }

    fn template(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("t");
        let noise: Vec<u8> = (0..600_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let memory = sparse(&[(0, b"first"), (1 << 20, &noise), (5 << 20, &[0; 4096])]);
        let file = File::create_new(&path).expect("create");
        write(&file, &memory, &sparse(&[(4 << 20, b"disk")]), b"state").expect("write");
        path
    }

    #[test]
    fn what_was_written_is_laid_out_again() {
        let dir = tempfile::tempdir().expect("dir");
        let template = Template::open(&template(dir.path())).expect("open");
        let to = tempfile::tempfile().expect("file");
        to.set_len(template.memory().size).expect("len");
        template.lay_out(template.memory(), &to).expect("lay out");
        let mut bytes = [0; 5];
        to.read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"first");
        let mut noise = vec![0; 600_000];
        to.read_exact_at(&mut noise, 1 << 20).expect("read");
        assert!(noise.iter().enumerate().all(|(n, b)| *b == ((n as u32).wrapping_mul(2_654_435_761) >> 13) as u8));
        assert!(to.metadata().expect("meta").blocks() * 512 < 1 << 20, "zeroes are holes");
        assert_eq!(template.state().expect("state"), b"state");
        assert_eq!((template.memory().size, template.scratch().size), (8 << 20, 8 << 20));
    }

    #[test]
    fn damage_anywhere_is_found() {
        let dir = tempfile::tempdir().expect("dir");
        let good = std::fs::read(template(dir.path())).expect("read");
        let path = dir.path().join("bad");
        let works = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("write");
            let Ok(template) = Template::open(&path) else { return false };
            let to = tempfile::tempfile().expect("file");
            let laid = |part: &Part| template.lay_out(part, &to).is_ok();
            laid(template.memory()) && laid(template.scratch()) && template.state().is_ok()
        };
        assert!(works(&good));
        for at in (0..good.len()).step_by(good.len() / 97).chain(good.len() - 40..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(!works(&bad), "a flipped bit at {at} of {}", good.len());
        }
        for len in [0, 1, 19, 20, 4096, good.len() / 2, good.len() - 1] {
            assert!(!works(&good[..len]), "cut to {len}");
        }
    }
}
