//! What a person should hear about a session once it is over and the screen is theirs again.

use std::sync::{Arc, Mutex, PoisonError};

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What happened.
    pub what: String,
    /// What to type.
    pub next: Option<String>,
    /// Whether it explains a failure, and so is said also when nobody watches.
    pub loud: bool,
}

/// The notes of one session; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    /// Adds one, unless it is there already.
    pub(super) fn add(&self, note: Note) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
