//! Which host directories the guest sees, and where.

use super::{Mount, Place, state};
use crate::settings::Settings;
use std::path::{Path, PathBuf};

/// Where the project is in the guest.
pub const WORKSPACE: &str = "/workspace";
/// The guest user's home.
pub const GUEST_HOME: &str = "/home/claude";

/// The project first, then what it keeps, then what the user let it see besides.
pub fn of(place: &Place, settings: &Settings) -> Vec<Mount> {
    let mut all = vec![project(place)];
    all.extend(place.state.mounts(settings.auth));
    all.extend(settings.mounts.iter().enumerate().map(|(n, extra)| Mount {
        host: extra.host.clone(),
        guest: extra.guest.clone(),
        tag: format!("extra{n}"),
        writable: extra.writable,
        coherent: false,
        identity: Some(extra.identity),
    }));
    all
}

/// The project itself.
pub fn project(place: &Place) -> Mount {
    Mount {
        host: place.root.clone(),
        guest: WORKSPACE.into(),
        tag: "workspace".into(),
        writable: true,
        coherent: false,
        identity: place.identity,
    }
}

/// Whether this place means something else in the guest than on the host.
pub fn is_taken(path: &Path) -> bool {
    let taken = [WORKSPACE, GUEST_HOME, "/var/lib/vmclaude", "/proc", "/sys", "/dev", "/run", "/opt/claude"];
    taken.iter().any(|t| path.starts_with(t))
}

/// The project's host path as a link in the guest, unless that place means something else there; and those to what is
/// shared.
pub fn links(project: &Path) -> Vec<(PathBuf, PathBuf)> {
    let own = (!is_taken(project)).then(|| (project.to_path_buf(), PathBuf::from(WORKSPACE)));
    own.into_iter().chain(state::links()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_first_and_its_path_leads_to_it() {
        let state = state::State::of(Path::new("/home/you/.vm-claude"), "k", state::Home::Project);
        let place = Place { root: "/home/you/shop".into(), rest: "".into(), identity: None, state, git: Vec::new() };
        let mounts = of(&place, &crate::settings::tests::settings(""));
        assert_eq!(
            (mounts[0].guest.as_path(), mounts[0].host.as_path()),
            (Path::new("/workspace"), Path::new("/home/you/shop"))
        );
        let own = |project: &str| links(Path::new(project)).iter().filter(|(_, to)| to == Path::new(WORKSPACE)).count();
        assert_eq!((own("/home/you/shop"), own("/home/claude/shop"), own("/var/lib/vmclaude/x")), (1, 0, 0));
    }
}
