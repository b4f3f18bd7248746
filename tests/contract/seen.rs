//! What whoever started a program sees of it.

use std::collections::BTreeMap;

/// Everything that is compared, by name: status, bytes, files.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen(BTreeMap<&'static str, Vec<u8>>);

impl Seen {
    pub(crate) fn note(&mut self, what: &'static str, value: impl AsRef<[u8]>) {
        self.0.entry(what).or_default().extend_from_slice(value.as_ref());
    }

    /// Whether this text is in any of it.
    pub(crate) fn shows(&self, text: &str) -> bool {
        self.0.values().any(|value| value.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, value) in &self.0 {
            let (head, sum) = (&value[..value.len().min(600)], value.iter().map(|b| u64::from(*b)).sum::<u64>());
            write!(f, "{what}={:?} ({} bytes, sum {sum}) ", String::from_utf8_lossy(head), value.len())?;
        }
        Ok(())
    }
}
