//! Names as text in our own files: any bytes, in one line of UTF-8, and back.

use std::fmt::Write;

/// A name's bytes as text: what is no plain UTF-8 as `\xx`.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let escaped = |out: &mut String, bytes: &[u8]| {
        for byte in bytes {
            let _ = write!(out, "\\{byte:02x}");
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '\\' && vmclaude_shim::clean::is_plain(c) {
                out.push(c);
            } else {
                escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        escaped(&mut out, chunk.invalid());
    }
    out
}

/// Reads back [`text`]; `None` for what it never writes.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'\\' {
            out.push(u8::from_str_radix(std::str::from_utf8(tail.get(..2)?).ok()?, 16).ok()?);
            rest = &tail[2..];
        } else {
            out.push(*first);
        }
    }
    Some(out)
}

/// Whether a name is one that looks like another, or does something to a terminal.
pub fn is_odd(name: &[u8]) -> bool {
    std::str::from_utf8(name).map_or(true, |name| !name.chars().all(vmclaude_shim::clean::is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for name in [&b"plain"[..], b"a b", b"\x1b[2J", b"\\", b"\xff\xfe", "\u{202e}ä".as_bytes(), b"\\41", b""] {
            assert_eq!(bytes(&text(name)).as_deref(), Some(name), "{name:?}");
            assert!(text(name).chars().all(vmclaude_shim::clean::is_plain));
        }
        assert!(is_odd(b"\x1b") && is_odd(b"\xff") && is_odd("\u{200b}".as_bytes()) && !is_odd("ä b".as_bytes()));
    }
}
