//! What distributions pack their kernels and modules with: Debian 12 its kernel with LZ4, later releases and Ubuntu with zstd,
//! and their modules with xz or zstd. Packages were verified by whoever brought them.

use std::io::Read;

/// The legacy frame of LZ4, with which the kernel's own build compresses.
const LZ4_LEGACY: [u8; 4] = 0x184C_2102u32.to_le_bytes();
/// The most that one block of it holds.
const LZ4_BLOCK: usize = 8 << 20;
const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// More than any kernel has, and how far back zstd may refer (a kernel's build takes 128 MiB).
const LARGEST: u64 = 512 << 20;

/// What is in it. Whatever follows the packed bytes, such as the size of the whole behind a kernel's, is not looked at. `None`: it is
/// packed otherwise or not at all, or damaged.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    if packed.starts_with(&LZ4_LEGACY) {
        return unpack_lz4(packed);
    }
    let mut out = Vec::new();
    if packed.starts_with(&XZ) {
        lzma_rust2::XzReader::new(packed, false).take(LARGEST).read_to_end(&mut out).ok()?;
    } else if packed.starts_with(&ZSTD) {
        let frame = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, LARGEST).ok()?;
        frame.take(LARGEST).read_to_end(&mut out).ok()?;
    } else {
        return None;
    }
    Some(out)
}

/// A legacy LZ4 frame as the kernel's build makes it: blocks, then the size of the whole.
fn unpack_lz4(payload: &[u8]) -> Option<Vec<u8>> {
    let mut rest = payload.strip_prefix(&LZ4_LEGACY)?;
    let mut out = Vec::new();
    while let Some((size, behind)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        if behind.is_empty() {
            return (size == out.len()).then_some(out);
        }
        let block = behind.get(..size)?;
        out.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).ok()?);
        rest = &behind[size..];
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const PLAIN: &[u8] = b"the very same bytes, the very same bytes, the very same bytes";
    /// Of `xz --check=crc32 --lzma2=dict=1MiB`, which packs modules, and of `zstd`.
    const PACKED: [&str; 2] = [
        "fd377a585a0000016922de360200210110000000a8708e86e0003c001c5d003a1a08ce76f492bd22b1ac42cfe0c90a8abe40d02079ecbe5a64b00000c5a9fd000001343dcd0ac4c39042990d010000000001595a",
        "28b52ffd243ddd0000a874686520766572792073616d652062797465732c20010063399937305a7c",
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// As the kernel's build packs.
    pub(in crate::image) fn lz4(plain: &[u8]) -> Vec<u8> {
        let mut packed = LZ4_LEGACY.to_vec();
        for block in plain.chunks(LZ4_BLOCK) {
            let block = lz4_flex::block::compress(block);
            packed.extend(u32::try_from(block.len()).unwrap().to_le_bytes());
            packed.extend(block);
        }
        packed.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
        packed
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let big: Vec<u8> = (0..LZ4_BLOCK + 4096).map(|i| (i % 251) as u8).collect();
        assert!(unpack(&lz4(&big)) == Some(big), "two blocks");
        for hex in PACKED {
            let mut packed = bytes(hex);
            packed.extend(61u32.to_le_bytes());
            assert_eq!(unpack(&packed).as_deref(), Some(PLAIN), "with a size behind it, as a kernel's");
        }
    }

    #[test]
    fn what_is_damaged_or_not_packed_does_not() {
        for packed in PACKED.map(bytes).into_iter().chain([lz4(PLAIN)]) {
            assert_eq!(unpack(&packed[..packed.len() - 9]), None, "cut short");
        }
        assert_eq!(unpack(b"\x7fELF"), None);
        assert_eq!(unpack(b""), None);
    }
}
