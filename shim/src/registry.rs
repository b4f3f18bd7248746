//! The registry as a file: which directories are enrolled.
//!
//! ```text
//! vmclaude-registry 1
//! <file system>:<inode>:<birth> <path>
//! end <number of lines between> <checksum of everything above>
//! ```
//!
//! Flat text because it is read before every `claude`: ten thousand lines must cost half a millisecond. The end line
//! makes a file that was cut off, or changed by a slip of an editor, different from one with fewer trees.

use crate::bytes::Bytes;
use crate::identity::Identity;
use crate::refusal::{Damage, Refusal};
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The registry's name in the state directory.
pub const FILE: &str = "registry";
/// The lock's name: it is never removed, so it also tells that there has been a registry.
pub const LOCK: &str = "registry.lock";

const HEADER: &[u8] = b"vmclaude-registry 1\n";
const END: &[u8] = b"end ";
/// Identity and the space behind it.
const PATH_AT: usize = Identity::TEXT + 1;

/// A whole, checked registry.
#[derive(Debug)]
pub struct Registry {
    bytes: Bytes,
    /// Where the end line begins.
    end: usize,
}

/// One enrolled directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which directory it was.
    pub identity: Identity,
    /// Where it was, canonical.
    pub path: PathBuf,
}

/// One line, not yet taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// [`Identity::text`].
    pub identity: &'a [u8],
    /// The path, escaped.
    pub path: &'a [u8],
}

impl Registry {
    /// Reads the registry of a state directory; `None` when there has never been one.
    ///
    /// # Errors
    /// Anything but a whole, private registry of ours.
    pub fn read(state: &Path) -> Result<Option<Registry>, Refusal> {
        let file = state.join(FILE);
        match read_private(state, &file) {
            Ok(bytes) => match Registry::parse(bytes) {
                Ok(registry) => Ok(Some(registry)),
                Err(damage) => Err(Refusal::Registry { path: file, damage }),
            },
            Err((_, Damage::Missing)) if !was_initialised(state) => Ok(None),
            Err((path, damage)) => Err(Refusal::Registry { path, damage }),
        }
    }

    /// Checks a registry's bytes.
    ///
    /// # Errors
    /// When the version is unknown, or the end line is missing or does not agree with what is above it.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Registry, Damage> {
        let bytes = bytes.into();
        if !bytes.starts_with(HEADER) {
            return Err(if bytes.starts_with(b"vmclaude-registry ") { Damage::Version } else { Damage::Cut });
        }
        let Some(body) = bytes.strip_suffix(b"\n") else { return Err(Damage::Cut) };
        let end = body.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        if end < HEADER.len() || !bytes[end..].starts_with(END) {
            return Err(Damage::Cut);
        }
        let count = newlines(&bytes[HEADER.len()..end]);
        if bytes[end..] != *end_line(count, &bytes[..end]).as_bytes() {
            return Err(Damage::Checksum);
        }
        Ok(Registry { bytes, end })
    }

    /// The lines, in the file's order.
    pub fn lines(&self) -> impl Iterator<Item = Result<Line<'_>, Damage>> {
        let mut rest = &self.bytes[HEADER.len()..self.end];
        std::iter::from_fn(move || {
            let line = &rest[..newline(rest)?];
            rest = &rest[line.len() + 1..];
            Some(match line.get(PATH_AT) {
                Some(b'/') => Ok(Line { identity: &line[..Identity::TEXT], path: &line[PATH_AT..] }),
                _ => Err(Damage::Line),
            })
        })
    }

    /// Whether no directory is enrolled.
    pub fn is_empty(&self) -> bool {
        self.end == HEADER.len()
    }

    /// Every line taken apart.
    ///
    /// # Errors
    /// When a line is not one of ours.
    pub fn entries(&self) -> Result<Vec<Entry>, Damage> {
        self.lines().map(|line| line?.entry()).collect()
    }
}

impl Line<'_> {
    /// Takes the line apart.
    ///
    /// # Errors
    /// When it is not one of ours.
    pub fn entry(&self) -> Result<Entry, Damage> {
        let identity = Identity::parse(self.identity).ok_or(Damage::Line)?;
        Ok(Entry { identity, path: unescape(self.path).ok_or(Damage::Line)? })
    }
}

/// The registry's bytes for these entries.
pub fn render(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for entry in entries {
        bytes.extend_from_slice(entry.identity.text().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(&escape(&entry.path));
        bytes.push(b'\n');
    }
    let end = end_line(entries.len(), &bytes);
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

/// Whether a registry has been there: what is missing now was lost. The programs that take the directory which they lie in for
/// the state directory tell so too: a copy of one elsewhere must not find that nothing is enrolled.
pub fn was_initialised(state: &Path) -> bool {
    [LOCK, "shims", "where", "wrapper"].iter().any(|name| state.join(name).symlink_metadata().is_ok())
}

/// A path on one line: control characters and the backslash as `\xx`. Slashes stay, so that a prefix by components of the
/// path is one of its text.
pub fn escape(path: &Path) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.as_os_str().len());
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\\' | 0..0x20 | 0x7f => text.extend_from_slice(format!("\\{byte:02x}").as_bytes()),
            _ => text.push(*byte),
        }
    }
    text
}

/// Reads back [`escape`]; `None` for what it never writes.
pub fn unescape(text: &[u8]) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'\\' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    (escape(&path) == text).then_some(path)
}

/// Reads a file of ours in a directory of ours; the path that is to blame stands beside the damage.
///
/// # Errors
/// When one of the two is missing, is not ours, may be written by others, or cannot be read.
pub fn read_private(dir: &Path, file: &Path) -> Result<Bytes, (PathBuf, Damage)> {
    let blame = |path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => (path, Damage::Missing),
            _ => (path, Damage::Unreadable(error.to_string())),
        }
    };
    // A link as the state directory is the user's own choice; a link as the registry is not ours.
    private(&std::fs::metadata(dir).map_err(blame(dir))?).map_err(|damage| (dir.to_path_buf(), damage))?;
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut opened: File = open.open(file).map_err(blame(file))?;
    let meta = opened.metadata().map_err(blame(file))?;
    private(&meta).map_err(|damage| (file.to_path_buf(), damage))?;
    if !meta.is_file() {
        return Err((file.to_path_buf(), Damage::Unreadable("it is not a file".to_owned())));
    }
    Bytes::of(&mut opened, meta.len()).map_err(blame(file))
}

fn private(meta: &Metadata) -> Result<(), Damage> {
    // SAFETY: geteuid has no arguments and cannot fail.
    let me = unsafe { libc::geteuid() };
    if meta.uid() != me {
        return Err(Damage::Owner { owner: meta.uid(), me });
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Damage::Mode(meta.mode() & 0o7777));
    }
    Ok(())
}

fn end_line(count: usize, above: &[u8]) -> String {
    format!("end {count} {:016x}\n", checksum(above))
}

/// Against accidents, not against people: who can write the file can also compute this. Four lanes, because one
/// multiplication must wait for the one before it; every step is reversible, so no change of one word is lost.
fn checksum(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |h: u64, word: u64| (h ^ word).wrapping_mul(ODD).rotate_left(29);
    let mut lanes = [1u64, 2, 3, 4];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
    let folded = lanes.into_iter().fold(bytes.len() as u64, step);
    rest.iter().fold(folded, |h, byte| step(h, u64::from(*byte)))
}

/// How many lines. In blocks whose count fits a byte: then the compiler compares 16 to 64 bytes at once.
fn newlines(bytes: &[u8]) -> usize {
    bytes.chunks(255).map(|block| usize::from(block.iter().map(|b| u8::from(*b == b'\n')).sum::<u8>())).sum()
}

/// Where the next newline is. The C library's search, because it looks at 16 to 64 bytes at once.
fn newline(bytes: &[u8]) -> Option<usize> {
    // SAFETY: the pointer and the length are those of one slice.
    let at = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(b'\n'), bytes.len()) };
    // A hit lies within the slice, so the difference of the addresses is an index into it.
    (!at.is_null()).then(|| at.addr() - bytes.as_ptr().addr())
}
