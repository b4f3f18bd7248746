//! Where in a device's configuration, and behind its windows, what we need of it is.

/// Numbers of capabilities in a device's configuration: vendor's own, PCI Express, MSI-X.
const VENDOR: u8 = 0x09;
pub(super) const EXPRESS: u8 = 0x10;
const MSIX: u8 = 0x11;

/// Where in a device's configuration and behind its windows things are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Number and place of a window.
    pub(super) registers: (u8, usize),
    pub(super) vectors: (u8, usize),
    pub(super) vector_words: usize,
    pub(super) msix_control: usize,
    pub(super) express: Option<usize>,
}

impl Layout {
    pub(super) fn of(space: &[u8; 256]) -> Option<Layout> {
        let find = |wanted: u8| capabilities(space).find(|(id, _)| *id == wanted).map(|(_, at)| at);
        let word = |at: usize| Some(u32::from_le_bytes(space.get(at..at + 4)?.try_into().ok()?) as usize);
        let is_common = |(id, at): &(u8, usize)| *id == VENDOR && space.get(at + 3) == Some(&1);
        let common = capabilities(space).find(is_common)?.1;
        let msix = find(MSIX)?;
        let table = word(msix + 4)?;
        Some(Layout {
            registers: (*space.get(common + 4)?, word(common + 8)?),
            vectors: ((table & 7) as u8, table & !7),
            vector_words: ((word(msix)? >> 16 & 0x7ff) + 1) * 4,
            msix_control: msix + 2,
            express: find(EXPRESS),
        })
    }
}

/// Capabilities of a device: their numbers, and where they are.
pub(super) fn capabilities(space: &[u8; 256]) -> impl Iterator<Item = (u8, usize)> {
    let mut next = space[0x34];
    // More than 48 do not fit, so it would be a ring.
    (0..48).map_while(move |_| {
        let at = usize::from(next & !3);
        next = *space.get(at + 1)?;
        (at != 0).then(|| (space[at], at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_configuration_says_where_its_registers_are() {
        let mut space = [0; 256];
        space[0x34] = 0x84;
        // The window's own way, the common registers at 0x1000 of window 4, MSI-X with three vectors at 0x800 of window 1, Express.
        for (at, bytes) in [
            (0x84, &[VENDOR, 0x98, 20, 5][..]),
            (0x98, &[VENDOR, 0xb0, 16, 1, 4, 0, 0, 0, 0, 0x10, 0, 0]),
            (0xb0, &[MSIX, 0x40, 2, 0x80, 0x01, 0x08, 0, 0]),
            (0x40, &[EXPRESS, 0, 2, 0]),
        ] {
            space[at..at + bytes.len()].copy_from_slice(bytes);
        }
        let layout = Layout {
            registers: (4, 0x1000),
            vectors: (1, 0x800),
            vector_words: 12,
            msix_control: 0xb2,
            express: Some(0x40),
        };
        assert_eq!(Layout::of(&space), Some(layout));
        space[0x41] = 0x84;
        assert_eq!(capabilities(&space).count(), 48, "a ring ends");
        space[0x9b] = 2;
        assert_eq!(Layout::of(&space), None, "no common registers");
        assert_eq!(Layout::of(&[0xff; 256]), None, "nothing is there");
    }
}
