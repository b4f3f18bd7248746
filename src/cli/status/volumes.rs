//! What the project here, and all of them, keep on disks of VMs.

use crate::enrollment;
use crate::host::Host;
use crate::plan::volumes::Dir;
use crate::report::status::Volumes;
use crate::session::volume;
use crate::settings::{Engine, Settings};
use crate::state;
use std::path::PathBuf;

/// Nothing is made, and nothing is held for longer than a look.
pub(super) fn look(host: &Host, settings: Option<&Settings>) -> Volumes {
    let settings = settings.filter(|settings| settings.engine == Engine::Qemu);
    let project = enrollment::project_or_here(host).ok();
    let dirs: Vec<PathBuf> = settings.iter().flat_map(|s| &s.volumes.local).map(Dir::path).map(Into::into).collect();
    let state = project.and_then(|project| state::of(host, &project.root, settings?.home).ok());
    let file = state.and_then(|state| Some(volume::path(&host.dirs.state, state.project.file_name()?)));
    let all = volume::all(&host.dirs.state);
    Volumes {
        directories: dirs,
        here: file.and_then(|file| all.iter().find(|seen| seen.file == file).cloned()),
        all: all.len(),
        allocated: all.iter().map(|seen| seen.allocated).sum(),
    }
}
