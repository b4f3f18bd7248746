//! What a guest writes to the host's terminal: cut anywhere, the same passes; what passed passes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmclaude::screen::{Clipboard, Filter};

fn filtered(pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut out) = (Filter::new(Clipboard::Allow), Vec::new());
    pieces.iter().for_each(|piece| filter.feed(piece, &mut out));
    out
}

fuzz_target!(|data: (u16, Vec<u8>)| {
    let (cut, bytes) = data;
    let (a, b) = bytes.split_at(usize::from(cut).min(bytes.len()));
    let once = filtered(&[&bytes]);
    assert_eq!(once, filtered(&[a, b]));
    assert_eq!([once.as_slice(), b"."].concat(), filtered(&[&once, b"."]));
    // No string but commands, and none of those that read.
    assert!(!once.windows(2).any(|w| [b"\x1bP", b"\x1b_", b"\x1b^", b"\x1bX"].iter().any(|bad| w == *bad)));
    assert!(!once.windows(8).any(|w| w == b"\x1b]52;c;?"));
});
