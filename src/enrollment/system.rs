//! Directories of the system, which are nobody's data.

use std::path::{Path, PathBuf};

const SYSTEM: [&str; 26] = [
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/etc",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/var",
    "/root",
    "/nix",
    "/snap",
    "/ostree",
    "/sysroot",
    "/efi",
    "/System",
    "/Library",
    "/Applications",
    "/private/etc",
    "/private/var",
];

/// What `/home`, `/mnt`, `/srv` and `/tmp` really are on some systems, and others besides `/tmp`.
const DATA: [&str; 6] = ["/var/home", "/var/mnt", "/var/srv", "/var/tmp", "/private/var/folders", "/private/var/tmp"];

/// The directory of the system that `dir` (canonical) lies in, is or holds; `None` when there is none. What lies in one of the
/// user's home directories is the user's, wherever those are. Pure.
pub(super) fn part(dir: &Path, homes: &[PathBuf]) -> Option<&'static str> {
    let system = SYSTEM.into_iter().find(|s| dir.starts_with(s) || Path::new(s).starts_with(dir))?;
    let below = |above: &Path| dir.starts_with(above) && dir != above;
    // A home directory that is a part of the system itself, as daemons have it, makes nothing the user's.
    let own = |home: &&PathBuf| !SYSTEM.iter().any(|s| Path::new(s).starts_with(home));
    let is_data = DATA.iter().any(|data| below(Path::new(data))) || homes.iter().filter(own).any(|home| below(home));
    (!is_data).then_some(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_systems_and_what_is_somebodys() {
        let homes = ["/home/u", "/opt/app", "/root", "/"].map(PathBuf::from);
        let part = |dir: &str| part(Path::new(dir), &homes);
        for dir in [
            "/",
            "/usr",
            "/usr/local/lib/x",
            "/bin",
            "/lib",
            "/lib64",
            "/opt",
            "/opt/tool",
            "/var",
            "/var/lib/x",
            "/var/spool/cron",
            "/var/cache/apt",
            "/var/home",
            "/var/tmp",
            "/root/x",
            "/private",
            "/private/var/db",
            "/Library/LaunchDaemons",
            "/System/Library",
            "/Applications/X.app",
        ] {
            assert!(part(dir).is_some(), "{dir}");
        }
        for dir in [
            "/home/u/data",
            "/home/u/Library/x",
            "/opt/app/data",
            "/srv/data",
            "/mnt/disk",
            "/media/u/disk",
            "/tmp/x",
            "/var/tmp/x",
            "/var/home/u/data",
            "/Users/u/data",
            "/Volumes/disk",
            "/private/var/folders/ab/T/x",
            "/library",
            "/usrx",
            "/data",
        ] {
            assert_eq!(part(dir), None, "{dir}");
        }
    }
}
