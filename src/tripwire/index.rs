//! Git's index, as far as it can be a trap: `git checkout -- .` on the host writes what the index names, and old versions
//! of git write it outside the project, or into `.git`. Nothing is trusted here but the bytes' own form.

/// Larger ones are said to be skipped.
pub(super) const LARGEST: u64 = 64 << 20;
/// The fixed part of an entry in front of the object's name, and the mode in it.
const STAT: usize = 40;
const MODE_AT: usize = 24;

/// The names in an index that no honest index has, as text; `None` when the bytes are no index that we can read.
pub(super) fn traps(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    // The object names' length is not in the file; only the right one leads through all entries.
    let all = entries(bytes, 20).or_else(|| entries(bytes, 32))?;
    Some(all.into_iter().filter(|name| is_trap(name)).collect())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn entries(bytes: &[u8], object: usize) -> Option<Vec<Vec<u8>>> {
    let (version, count) = (number(bytes, 4)?, number(bytes, 8)?);
    if !bytes.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let (mut at, mut all, mut last) = (12, Vec::new(), Vec::new());
    for _ in 0..count {
        let start = at;
        let mode = number(bytes, at + MODE_AT)?;
        let flags = u16::from_be_bytes(*bytes.get(at + STAT + object..)?.first_chunk()?);
        at += STAT + object + 2 + if flags & 0x4000 != 0 { 2 } else { 0 };
        let mut name = Vec::new();
        if version == 4 {
            let strip = varint(bytes, &mut at)?;
            name.extend_from_slice(last.get(..last.len().checked_sub(strip)?)?);
        }
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|b| *b == 0)?;
        name.extend_from_slice(&rest[..end]);
        at += end + 1;
        if version != 4 {
            // Up to eight zeroes, so that an entry's length is a multiple of eight.
            at = start + (at - start).div_ceil(8) * 8;
        }
        if mode & 0o170_000 == 0 {
            return None;
        }
        last.clone_from(&name);
        all.push(name);
    }
    (at <= bytes.len()).then_some(all)
}

/// Git's own kind of number: each byte but the last adds one, so that there is one spelling only.
fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0usize;
    for n in 0..8 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value = (value << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
        value += usize::from(n < 8);
    }
    None
}

fn is_trap(name: &[u8]) -> bool {
    name.split(|b| *b == b'/').any(|part| {
        let lower = part.to_ascii_lowercase();
        matches!(&lower[..], b"" | b"." | b".." | b".git" | b"git~1")
            || lower.starts_with(b".git ")
            || lower == b".git."
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(version: u32, object: usize, names: &[&str]) -> Vec<u8> {
        let mut out = [&b"DIRC"[..], &version.to_be_bytes(), &(names.len() as u32).to_be_bytes()].concat();
        let mut last = String::new();
        for name in names {
            let start = out.len();
            out.extend([0; MODE_AT]);
            out.extend(0o100_644u32.to_be_bytes());
            out.extend(vec![0; STAT - MODE_AT - 4 + object + 2]);
            if version == 4 {
                out.push(last.len() as u8);
                last = (*name).to_owned();
            }
            out.extend(name.as_bytes());
            out.push(0);
            while version != 4 && !(out.len() - start).is_multiple_of(8) {
                out.push(0);
            }
        }
        out.extend([0; 40]);
        out
    }

    #[test]
    fn names_that_no_honest_index_has_are_found() {
        for (version, object) in [(2, 20), (3, 20), (4, 20), (2, 32)] {
            let bytes = index(
                version,
                object,
                &["a", "src/x", "../outside.sh", ".git/hooks/post-checkout", "b/.GIT/config", "c"],
            );
            let found = traps(&bytes).unwrap_or_else(|| panic!("version {version}"));
            assert_eq!(found.len(), 3, "{version} {object}");
            assert_eq!(traps(&index(version, object, &["a", ".gitignore", "x/.github/y"])), Some(vec![]));
        }
        assert_eq!(traps(b"not an index"), None);
        let whole = index(2, 20, &["a", "b"]);
        for cut in 0..60 {
            let _ = traps(&whole[..cut]); // Never a panic.
        }
    }
}
