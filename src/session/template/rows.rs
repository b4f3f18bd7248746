//! Lines that go on as they began. Of an idle machine's memory the largest part is the kernel's table of its pages: for each page a
//! line of 64 bytes, whose words are those of the line before, or greater by what that one was greater than its own predecessor. To
//! write such lines down, read and sum them would take longer than to count on.

use serde::{Deserialize, Serialize};
use std::io;

/// A line.
const LINE: usize = 64;
/// Its words.
const WORDS: usize = LINE / 8;
/// Shorter rows are not worth a place in an index.
const LEAST: usize = 64 * LINE;

/// A place in a piece whose bytes follow from the two lines before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    at: usize,
    len: usize,
}

/// The rows of a piece, and its bytes without them.
pub(super) fn pack(bytes: &[u8]) -> (Vec<Row>, Vec<u8>) {
    let mut rows = Vec::new();
    let mut at = 2 * LINE;
    while at + LINE <= bytes.len() {
        let (first, second) = (words(&bytes[at - 2 * LINE..]), words(&bytes[at - LINE..]));
        let mut next = Count::on(first, second);
        let goes_on = |line: &&[u8]| words(line) == next.line();
        let len = bytes[at..].chunks_exact(LINE).take_while(goes_on).count() * LINE;
        if len >= LEAST {
            rows.push(Row { at, len });
            at += len;
        }
        at += LINE;
    }
    let mut rest = Vec::new();
    let mut done = 0;
    for row in &rows {
        rest.extend(&bytes[done..row.at]);
        done = row.at + row.len;
    }
    rest.extend(&bytes[done..]);
    (rows, rest)
}

/// Puts a piece together again.
///
/// # Errors
/// When rows and rest do not make a piece of this length.
pub(super) fn unpack(rows: &[Row], mut rest: &[u8], bytes: &mut [u8]) -> io::Result<()> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "a row is where none can be");
    let mut done = 0;
    for row in rows {
        let plain = row.at.checked_sub(done).filter(|_| row.at >= 2 * LINE).ok_or_else(strange)?;
        let end = row.at.checked_add(row.len).filter(|end| *end <= bytes.len()).ok_or_else(strange)?;
        bytes[done..row.at].copy_from_slice(rest.split_off(..plain).ok_or_else(strange)?);
        let (before, lines) = bytes[..end].split_at_mut(row.at);
        let mut next = Count::on(words(&before[row.at - 2 * LINE..]), words(&before[row.at - LINE..]));
        for line in lines.chunks_exact_mut(LINE) {
            for (word, to) in next.line().iter().zip(line.chunks_exact_mut(8)) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        }
        done = end;
    }
    match bytes.len() - done == rest.len() {
        true => bytes[done..].copy_from_slice(rest),
        false => return Err(strange()),
    }
    Ok(())
}

/// The lines that follow two lines.
struct Count {
    last: [u64; WORDS],
    step: [u64; WORDS],
}

impl Count {
    fn on(first: [u64; WORDS], second: [u64; WORDS]) -> Count {
        Count { last: second, step: std::array::from_fn(|n| second[n].wrapping_sub(first[n])) }
    }

    fn line(&mut self) -> [u64; WORDS] {
        for (last, step) in self.last.iter_mut().zip(self.step) {
            *last = last.wrapping_add(step);
        }
        self.last
    }
}

/// The words of the line that these bytes begin with.
fn words(bytes: &[u8]) -> [u64; WORDS] {
    std::array::from_fn(|n| u64::from_le_bytes(bytes[n * 8..n * 8 + 8].try_into().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table of pages with a line of another kind now and then.
    fn table(lines: u64, odd: &[u64]) -> Vec<u8> {
        let line = |n: u64| match odd.contains(&n) {
            true => [n.wrapping_mul(0x9e37_79b9_7f4a_7c15); WORDS],
            false => [
                0x2f_ffff_c000_0000,
                0xffff_ea00_0000_0008 + n * 64,
                0xffff_ea00_0000_0008 + n * 64,
                0,
                0,
                0,
                u64::MAX,
                0,
            ],
        };
        (0..lines).flat_map(line).flat_map(u64::to_le_bytes).collect()
    }

    #[test]
    fn a_table_of_pages_is_a_few_lines() {
        let bytes = table(4096, &[0, 1024, 2048, 3072]);
        let (rows, rest) = pack(&bytes);
        assert_eq!((rows.len(), rest.len()), (4, 4 * 3 * LINE));
        let mut again = vec![1; bytes.len()];
        unpack(&rows, &rest, &mut again).expect("it fits");
        assert!(again == bytes);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let bytes = table(512, &[]);
        let (rows, rest) = pack(&bytes);
        let works = |rows: &[Row], rest: &[u8], len: usize| unpack(rows, rest, &mut vec![0; len]).is_ok();
        assert!(works(&rows, &rest, bytes.len()));
        assert!(!works(&rows, &rest, bytes.len() - 1) && !works(&rows, &rest[1..], bytes.len()));
        for (at, len) in [(0, 64), (64, 64), (usize::MAX, 64), (128, usize::MAX), (bytes.len(), 64)] {
            assert!(!works(&[Row { at, len }], &rest, bytes.len()), "{at} {len}");
        }
        assert!(!works(&[rows[0], rows[0]], &rest, bytes.len()));
    }

    proptest! {
        #[test]
        fn whatever_it_is_comes_back(odd in prop::collection::vec(0..900_u64, 0..9), cut in 0..200_usize, noise in any::<Vec<u8>>()) {
            let mut bytes = table(900, &odd);
            bytes.truncate(bytes.len() - cut);
            bytes.extend(noise);
            let (rows, rest) = pack(&bytes);
            let mut again = vec![1; bytes.len()];
            unpack(&rows, &rest, &mut again).expect("it fits");
            prop_assert!(again == bytes);
        }
    }
}
