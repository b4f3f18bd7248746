//! Named volumes of Apple's `container`: one of ours for each project, known by its labels.

use super::calls::Call;
use super::{STATE_LABEL, answers};
use crate::error::Result;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The label that says which project a volume is of.
pub const PROJECT_LABEL: &str = "vmclaude.project";
/// Where it is mounted in the guest, out of the user's reach.
pub const GUEST: &str = "/run/vmclaude/host/volume";

/// A volume of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// The project that it is of.
    pub project: String,
    /// The system's file with what is in it.
    pub file: PathBuf,
    /// The most that it can hold, in bytes.
    pub size: u64,
}

/// The name of a project's volume: the system knows one set of names for all state directories of a user.
pub fn name(owner: &str, project: &str) -> String {
    format!("vmclaude-{owner}-{project}")
}

/// The name of the volume whose lock is this file.
pub fn name_of(owner: &str, lock: &Path) -> String {
    name(owner, &lock.file_stem().unwrap_or_default().to_string_lossy())
}

/// Every volume of this user's, to find ours by their labels.
pub fn list() -> Call {
    super::calls::call(&["volume", "list", "--format", "json"], super::calls::QUESTION)
}

/// Makes the volume of a project. It has a journal: what is in it outlives the machine, however that ends.
pub fn create(owner: &str, project: &str, mib: u64) -> Call {
    let (size, name) = (format!("{mib}M"), name(owner, project));
    let labels = [format!("{STATE_LABEL}={owner}"), format!("{PROJECT_LABEL}={project}")];
    let words = ["volume", "create", "--label", &labels[0], "--label", &labels[1], "--opt", "journal=ordered"];
    super::calls::call(&[&words[..], &["-s", &size, "--", &name]].concat(), super::calls::ORDER)
}

/// Removes one volume. The system refuses that while a container has it.
pub fn delete(name: &str) -> Call {
    super::calls::call(&["volume", "delete", "--", name], super::calls::ORDER)
}

/// The words that mount it.
pub(super) fn words(name: &str) -> [OsString; 2] {
    ["-v".into(), format!("{name}:{GUEST}").into()]
}

/// Reads the answer to [`list`]: those that carry our labels with this `owner`, and no others.
///
/// # Errors
/// When it is not one.
pub fn ours(text: &[u8], owner: &str) -> Result<Vec<Volume>> {
    #[derive(Deserialize)]
    struct One {
        configuration: Configuration,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Configuration {
        name: String,
        labels: BTreeMap<String, String>,
        source: PathBuf,
        size_in_bytes: Option<u64>,
    }
    let all: Vec<One> = answers::read("volume list", text)?;
    let ours = all.into_iter().filter_map(|One { configuration: one }| {
        let project =
            one.labels.get(PROJECT_LABEL).filter(|_| one.labels.get(STATE_LABEL).is_some_and(|o| o == owner))?;
        // The name follows from the project; one that does not is somebody's who copied our labels.
        let same = one.name == name(owner, project);
        same.then(|| Volume {
            name: one.name.clone(),
            project: project.clone(),
            file: one.source.clone(),
            size: one.size_in_bytes.unwrap_or(0),
        })
    });
    Ok(ours.collect())
}
