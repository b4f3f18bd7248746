//! The end of a container: by itself, or made sure of; and what crashed sessions left.

use super::super::record;
use super::call::Asked;
use super::place;
use super::start::Client;
use crate::engine::apple::answers::{Ours, ours};
use crate::engine::apple::{Container, calls};
use crate::error::{Context, Result};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// In a session's directory: the container that it started or was about to start.
const NOTE: &str = "container.json";

/// How long a supervisor that was let go may take until its container is gone.
const PROPER: Duration = Duration::from_secs(10);
/// How long one may take that has just lost its host.
const SOON: Duration = Duration::from_secs(3);
/// How long removing may be refused: a container that is stopping cannot be removed, not even by force.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    program: PathBuf,
    env: Vec<(OsString, OsString)>,
    name: String,
    owner: String,
}

/// Writes down what is about to be started.
pub(super) fn remember(dir: &Path, container: &Container, name: &str) -> Result<()> {
    let (program, env) = (container.program.clone(), container.env.clone());
    let note = Note { program, env, name: name.to_owned(), owner: container.owner.clone() };
    let text = serde_json::to_vec(&note).what(|| "cannot write the session's record")?;
    files::write_atomic(&dir.join(NOTE), &text, 0o600)
}

/// Whether a container of this session's may be left.
pub(in crate::session) fn has_note(dir: &Path) -> bool {
    dir.join(NOTE).exists()
}

impl Client {
    /// The client's end is the loss of the machine: without it nobody tells the supervisor that we live.
    pub(in crate::session) fn gone(&mut self) -> Option<&'static str> {
        self.running.is_gone().then_some("container ended")
    }

    /// How it ended by itself.
    pub(in crate::session) fn ended(&mut self) -> Vec<String> {
        self.running.ended().into_iter().collect()
    }

    /// The conversation is over and the supervisor knows it.
    pub(in crate::session) fn farewell(&mut self) {
        self.farewell = true;
    }
}

impl Drop for Client {
    /// The supervisor ends when it is let go and when it loses us, and its container is then removed by the system. Only
    /// where that was not told well is somebody asked, and the container removed.
    fn drop(&mut self) {
        drop(self.life.take());
        let ended = self.running.wait(if self.farewell { PROPER } else { SOON });
        place::remove(&self.id);
        // Whoever has the volume next needs to know that the machine has it no more.
        let proper = self.farewell && ended == Some(true) && !self.has_volume;
        if proper || remove(&self.asked, &self.owner, &self.name) {
            self.running.kill();
            let _ = std::fs::remove_file(self.dir.join(NOTE));
        }
    }
}

/// Makes sure that this container is gone; whether it is.
fn remove(asked: &Asked, owner: &str, name: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    let mut pause = PAUSE;
    loop {
        match find(asked, owner) {
            Ok(all) => match all.iter().find(|c| c.name == name) {
                None => return true,
                Some(found) => order(asked, found),
            },
            Err(e) => tracing::warn!("{e}"),
        }
        if Instant::now() > end {
            tracing::warn!(name, "the container could not be removed");
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn order(asked: &Asked, container: &Ours) {
    match asked.ask(&calls::delete(&container.name)) {
        Ok(answer) if answer.success => {}
        // It may be stopping, or have gone meanwhile: the next look tells.
        Ok(answer) => tracing::debug!(state = container.state, "{}", answer.err.trim_end()),
        Err(e) => tracing::warn!("{e}"),
    }
}

fn find(asked: &Asked, owner: &str) -> Result<Vec<Ours>> {
    let answer = asked.ask(&calls::list())?;
    match answer.success {
        true => ours(&answer.out, owner),
        false => Err(answer.failure("cannot list the containers")),
    }
}

/// Removes the container of a dead session's directory; whether nothing of it is left.
pub(in crate::session) fn finish(dir: &Path) -> bool {
    let Ok(text) = std::fs::read(dir.join(NOTE)) else { return true };
    let Ok(note) = serde_json::from_slice::<Note>(&text) else { return true };
    place::remove(&dir.file_name().unwrap_or_default().to_string_lossy());
    remove(&Asked { program: note.program, env: note.env }, &note.owner, &note.name)
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Names of containers that were removed.
    pub removed: Vec<String>,
    /// Names of those that could not be.
    pub stuck: Vec<String>,
}

/// Removes containers that carry our labels and belong to no living session below `runs`.
///
/// # Errors
/// When the containers cannot be listed.
pub fn sweep(container: &Container, runs: &Path) -> Result<Leftovers> {
    let asked = Asked::from(container);
    let found = find(&asked, &container.owner)?;
    // After the listing: a session is on record before its container is.
    let living: BTreeSet<String> = record::living(runs);
    let mut left = Leftovers::default();
    for dead in found.into_iter().filter(|c| !living.contains(&c.run)) {
        match remove(&asked, &container.owner, &dead.name) {
            true => left.removed.push(dead.name),
            false => left.stuck.push(dead.name),
        }
    }
    Ok(left)
}
