//! Directories that are never shown to a VM, whoever asks.

use crate::enrollment::{real, shown};
use crate::error::{Failure, Result};
use crate::files::quoted;
use crate::host::Host;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Below the home directory: where programs keep what opens other machines.
const CREDENTIALS: [&str; 12] = [
    ".ssh",
    ".aws",
    ".gnupg",
    ".config/gcloud",
    ".config/gh",
    ".kube",
    ".docker",
    ".azure",
    ".claude",
    ".vm-claude",
    ".password-store",
    ".local/share/keyrings",
];

/// Where the kernel shows itself and, in every process, the whole file system once more.
const KERNEL: [&str; 2] = ["/proc", "/sys"];
/// What belongs to the whole machine; below it there may be a place for a project (`/dev/shm`).
const MACHINE: [&str; 3] = ["/dev", "/run", "/run/user"];

/// Paths that matter, all canonical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// The user's home directories: `$HOME`, and the one of the user database, because a variable can say anything.
    pub homes: Vec<PathBuf>,
    /// Our state, data, configuration and cache.
    pub dirs: Vec<PathBuf>,
    /// Our own programs, and the directory of those that are copied to where they run: a guest that could write them would
    /// run on the host.
    pub programs: Vec<PathBuf>,
}

impl Ours {
    /// The real paths behind the host's facts; what does not exist yet keeps its name below what does.
    pub fn of(host: &Host) -> Ours {
        let d = &host.dirs;
        Ours {
            homes: homes(host),
            dirs: [&d.state, &d.data, &d.config, &d.cache].map(|dir| real(dir)).to_vec(),
            programs: vec![real(&host.exe), real(&host.helpers())],
        }
    }
}

/// Why `dir` (canonical) must not be shown to a VM; `None` when it may. Pure.
pub fn reason(dir: &Path, ours: &Ours) -> Option<String> {
    if dir.parent().is_none() {
        return Some("it is the whole file system".to_owned());
    }
    if ours.homes.iter().any(|home| home == dir) {
        return Some("it is your home directory, with every key and every project".to_owned());
    }
    if let Some(home) = ours.homes.iter().find(|home| home.starts_with(dir)) {
        return Some(format!("your home directory {} lies in it", shown(home)));
    }
    if let Some(secret) = secrets(ours).find(|s| dir.starts_with(s) || s.starts_with(dir) && s.exists()) {
        return Some(format!("{} holds credentials", shown(&secret)));
    }
    if let Some(own) = ours.dirs.iter().find(|own| own.starts_with(dir) || dir.starts_with(own)) {
        return Some(format!("vmclaude keeps its own files in {}", shown(own)));
    }
    if KERNEL.iter().any(|own| dir.starts_with(own)) {
        return Some("what lies there is this machine's kernel and its processes, and no files".to_owned());
    }
    if MACHINE.iter().any(|own| Path::new(own) == dir) {
        return Some("devices and sockets of this whole machine lie in it".to_owned());
    }
    if let Some(program) = ours.programs.iter().find(|p| p.starts_with(dir)) {
        return Some(format!("vmclaude itself, {}, lies in it, and a guest could replace it", shown(program)));
    }
    if let Some(program) = ours.programs.iter().find(|p| dir.starts_with(p)) {
        return Some(format!("{} is vmclaude itself, and a guest could replace what is there", shown(program)));
    }
    unspeakable(dir).map(str::to_owned)
}

/// Why a name cannot be written into lists and records, which are lines of text.
fn unspeakable(dir: &Path) -> Option<&'static str> {
    match dir.to_str() {
        None => Some("its name is no text: not all of it is UTF-8"),
        Some(name) => name.contains('\n').then_some("there is a newline in its name"),
    }
}

/// Refuses `dir` (canonical) when it must not be shown to a VM: by its path, and when it is one of those directories under
/// another name (a bind mount).
///
/// # Errors
/// Exit 78 with the reason.
pub fn check(dir: &Path, host: &Host) -> Result<()> {
    let ours = Ours::of(host);
    let why = reason(dir, &ours).or_else(|| alias(dir, &ours));
    let Some(why) = why else { return Ok(()) };
    let next = if unspeakable(dir).is_some() {
        "rename it".to_owned()
    } else {
        format!("mkdir {0} && cd {0}", quoted(&host.home.join("project")))
    };
    Err(Failure::refused(format!("refusing to show {} to a VM", shown(dir))).because(why).next(next))
}

fn alias(dir: &Path, ours: &Ours) -> Option<String> {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let dir = id(dir)?;
    let device = |path: &str| id(Path::new(path)).map(|(device, _)| device);
    if let Some(own) = KERNEL.iter().find(|own| device(own) == Some(dir.0) && device(own) != device("/")) {
        return Some(format!("it is a part of {own} under another name"));
    }
    let above = ours.homes.iter().flat_map(|home| home.ancestors()).map(Path::to_path_buf);
    let around = ours.programs.iter().flat_map(|program| program.ancestors()).map(Path::to_path_buf);
    let mut known = above.chain(secrets(ours)).chain(ours.dirs.clone()).chain(around);
    known.find(|path| id(path) == Some(dir)).map(|path| format!("it is {} under another name", shown(&path)))
}

fn secrets(ours: &Ours) -> impl Iterator<Item = PathBuf> + '_ {
    ours.homes.iter().flat_map(|home| CREDENTIALS.iter().map(|name| home.join(name)))
}

fn homes(host: &Host) -> Vec<PathBuf> {
    let listed = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(host.uid)).ok().flatten().map(|user| user.dir);
    let mut homes: Vec<PathBuf> = std::iter::once(host.home.clone()).chain(listed).map(|home| real(&home)).collect();
    homes.dedup();
    homes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn ours() -> Ours {
        Ours {
            homes: vec!["/home/u".into(), "/root".into()],
            dirs: vec!["/home/u/.local/state/vmclaude".into(), "/srv/images".into()],
            programs: vec![
                "/home/u/src/vmclaude/target/release/vmclaude".into(),
                "/home/u/src/vmclaude/target/lib/vmclaude".into(),
                "/opt/prefix/lib/vmclaude".into(),
            ],
        }
    }

    #[test]
    fn what_holds_keys_or_ourselves_is_refused() {
        for dir in [
            "/",
            "/home",
            "/home/u",
            "/home/u/.ssh",
            "/home/u/.ssh/keys",
            "/home/u/.aws",
            "/home/u/.config/gcloud",
            "/home/u/.vm-claude/shared",
            "/home/u/.claude",
            "/home/u/.local",
            "/home/u/.local/state/vmclaude/run",
            "/srv",
            "/home/u/src/vmclaude",
            "/home/u/src/vmclaude/target/lib",
            "/home/u/src/vmclaude/target/lib/vmclaude/x",
            "/opt/prefix",
            "/opt/prefix/lib/vmclaude",
            "/home/u/a\nb",
            "/root",
            "/root/.ssh",
            "/proc",
            "/proc/1/root",
            "/sys/fs/cgroup",
            "/dev",
            "/run",
        ] {
            assert!(reason(Path::new(dir), &ours()).is_some(), "{dir}");
        }
        assert!(reason(Path::new(OsStr::from_bytes(b"/home/u/a\xff")), &ours()).is_some());
    }

    #[test]
    fn what_is_copied_to_where_it_runs_is_refused_under_another_name_too() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        let mut host = crate::host::tests::host();
        host.exe = root.join("bin/vmclaude");
        let lib = root.join("lib/vmclaude");
        std::fs::create_dir_all(&lib).expect("mkdir");
        let ours = Ours::of(&host);
        assert!(reason(&lib, &ours).is_some() && ours.programs.contains(&lib), "{ours:?}");
        // A bind mount needs root; that a way there is another name is all the same to who asks for the inode.
        let around = |path: &Path| alias(&path.join("."), &ours).is_some();
        assert!(around(&lib) && around(&root.join("lib")));
        std::fs::create_dir(root.join("lib/other")).expect("mkdir");
        assert!(!around(&root.join("lib/other")));
    }

    #[test]
    fn everything_else_is_not_by_components() {
        for dir in [
            "/home/u/p",
            "/home/u/.sshx",
            "/home/user2",
            "/home/u/a:b, 'c' \"d\"",
            "/srv/imagesx",
            "/tmp/x",
            "/home/u/src/v",
            "/home/u/src/vmclaude/target/release/build",
            "/opt/prefix/lib/vmclaudex",
            "/opt/prefix/share",
            "/dev/shm/p",
            "/run/user/1000/p",
            "/process",
        ] {
            assert_eq!(reason(Path::new(dir), &ours()), None, "{dir}");
        }
    }
}
