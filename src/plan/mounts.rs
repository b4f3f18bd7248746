//! Which host directories the guest sees, and where.

use super::approval::Extra;
use super::{Mount, Place, State, state};
use std::path::{Path, PathBuf};

/// Where the project is in the guest.
pub const WORKSPACE: &str = "/workspace";
/// The guest user's home.
pub const GUEST_HOME: &str = "/home/claude";

/// The project first, then what it keeps, then what the user let it see besides.
pub fn of(project: &Place, extra: &[Extra]) -> Vec<Mount> {
    let mut all = vec![Mount {
        host: project.root.clone(),
        guest: WORKSPACE.into(),
        tag: "workspace".into(),
        writable: true,
        coherent: false,
        identity: project.identity,
    }];
    all.extend(project.state.mounts());
    all.extend(extra.iter().enumerate().map(|(n, extra)| Mount {
        host: extra.host.clone(),
        guest: extra.guest.clone(),
        tag: format!("extra{n}"),
        writable: extra.writable,
        coherent: false,
        identity: Some(extra.identity),
    }));
    all
}

/// The project's host path as a link in the guest, unless that place means something else there; and those to what is
/// shared.
pub fn links(project: &Path) -> Vec<(PathBuf, PathBuf)> {
    let taken = ["/workspace", "/home/claude", "/proc", "/sys", "/dev", "/run", "/opt/claude"];
    let taken = taken.iter().any(|t| project.starts_with(t)) || State::is_taken(project);
    let own = (!taken).then(|| (project.to_path_buf(), PathBuf::from(WORKSPACE)));
    own.into_iter().chain(state::links()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_first_and_its_path_leads_to_it() {
        let state = State::of(Path::new("/home/ann/.vm-claude"), "k", state::Home::Project);
        let place = Place { root: "/home/ann/shop".into(), rest: "".into(), identity: None, state, git: Vec::new() };
        let mounts = of(&place, &[]);
        assert_eq!(
            (mounts[0].guest.as_path(), mounts[0].host.as_path()),
            (Path::new("/workspace"), Path::new("/home/ann/shop"))
        );
        let own = |project: &str| links(Path::new(project)).iter().filter(|(_, to)| to == Path::new(WORKSPACE)).count();
        assert_eq!((own("/home/ann/shop"), own("/home/claude/shop"), own("/var/lib/vmclaude/x")), (1, 0, 0));
    }
}
