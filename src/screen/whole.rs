//! The usual case of output, whole characters and sequences, found without a copy.

use super::{ESC, PLAIN, SEQUENCE, sequence};

/// How many bytes, from the first on, pass for sure: the usual case, without a copy. What is cut off or odd comes to 0.
pub(super) fn prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let len = match byte {
            _ if PLAIN[usize::from(byte)] => 1,
            ESC => control_sequence(&bytes[at..]),
            0xc2..=0xdf => character(&bytes[at..], 2),
            0xe0..=0xef => character(&bytes[at..], 3),
            0xf0..=0xf4 => character(&bytes[at..], 4),
            _ => 0,
        };
        if len == 0 {
            break;
        }
        at += len;
    }
    at
}

fn character(bytes: &[u8], len: usize) -> usize {
    let text = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.chars().next()).filter(|c| !c.is_control()).map_or(0, |_| len)
}

fn control_sequence(bytes: &[u8]) -> usize {
    if bytes.get(1) != Some(&b'[') {
        return 0;
    }
    let body = &bytes[2..bytes.len().min(SEQUENCE)];
    let last = body.iter().position(|b| !(0x20..=0x3f).contains(b));
    last.filter(|last| (0x40..=0x7e).contains(&body[*last]) && sequence::passes(&body[..=*last]))
        .map_or(0, |last| last + 3)
}
