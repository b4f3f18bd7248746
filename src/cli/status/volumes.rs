//! What the project here, and all of them, keep on disks of VMs.

use crate::enrollment;
use crate::host::Host;
use crate::plan::volumes::Dir;
use crate::report::status::Volumes;
use crate::session::{apple, volume};
use crate::settings::{Engine, Settings};
use crate::state;
use std::path::PathBuf;

/// Nothing is made, and nothing is held for longer than a look.
pub(super) fn look(host: &Host, settings: Option<&Settings>) -> Volumes {
    let project = enrollment::project_or_here(host).ok();
    let dirs: Vec<PathBuf> = settings.iter().flat_map(|s| &s.volumes.local).map(Dir::path).map(Into::into).collect();
    let state = project.and_then(|project| state::of(host, &project.root, settings?.home).ok());
    let here = state.and_then(|state| Some(state.project.file_name()?.to_string_lossy().into_owned()));
    let all = match settings.filter(|settings| settings.engine == Engine::Apple) {
        Some(settings) => apples(host, settings),
        None => volume::all(&host.dirs.state),
    };
    Volumes {
        directories: dirs,
        here: here.and_then(|project| all.iter().find(|seen| seen.project == project).cloned()),
        all: all.len(),
        allocated: all.iter().map(|seen| seen.allocated).sum(),
    }
}

/// Those that Apple's `container` keeps. When it does not answer, the engine's line says why.
fn apples(host: &Host, settings: &Settings) -> Vec<volume::Seen> {
    let asked = crate::run::apple::for_sweep(host, settings);
    asked.and_then(|container| apple::volume::all(&container, &host.dirs.state)).unwrap_or_else(|e| {
        tracing::info!("{e}");
        Vec::new()
    })
}
