//! Which host directories the guest sees, and where.

use super::approval::Extra;
use super::{Identity, Mount, Place};
use std::path::{Path, PathBuf};

/// Where the project is in the guest.
pub const WORKSPACE: &str = "/workspace";
/// The guest user's home.
pub const GUEST_HOME: &str = "/home/claude";

/// The project, the guest's home, and what the user let it see besides.
pub fn of(project: &Place, guest_home: &Path, extra: &[Extra]) -> Vec<Mount> {
    let mount = |host: &Path, guest: &str, tag: &str, identity: Option<Identity>| Mount {
        host: host.to_path_buf(),
        guest: guest.into(),
        tag: tag.into(),
        writable: true,
        identity,
    };
    let mut all = vec![
        mount(&project.root, WORKSPACE, "workspace", project.identity),
        mount(guest_home, GUEST_HOME, "home", None),
    ];
    all.extend(extra.iter().enumerate().map(|(n, extra)| Mount {
        host: extra.host.clone(),
        guest: extra.guest.clone(),
        tag: format!("extra{n}"),
        writable: extra.writable,
        identity: Some(extra.identity),
    }));
    all
}

/// The project's host path as a link in the guest, unless that place means something else there.
pub fn links(project: &Path) -> Vec<(PathBuf, PathBuf)> {
    let taken = ["/workspace", "/home/claude", "/proc", "/sys", "/dev", "/run", "/opt/claude"];
    match taken.iter().any(|t| project.starts_with(t)) {
        true => Vec::new(),
        false => vec![(project.to_path_buf(), WORKSPACE.into())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_first_and_its_path_leads_to_it() {
        let place = Place { root: "/home/ann/shop".into(), rest: "".into(), identity: None };
        let mounts = of(&place, Path::new("/home/ann/.vm-claude"), &[]);
        assert_eq!(
            (mounts[0].guest.as_path(), mounts[0].host.as_path()),
            (Path::new("/workspace"), Path::new("/home/ann/shop"))
        );
        assert_eq!(links(Path::new("/home/ann/shop")).len(), 1);
        assert!(links(Path::new("/home/claude/shop")).is_empty());
    }
}
