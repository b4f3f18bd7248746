//! Which directories are enrolled, and in which of them this process stands.

pub mod barrier;
pub mod git;
pub mod programs;
pub mod refuse;
pub mod registry;
pub mod store;
mod system;
pub mod trust;

use crate::error::{Context, Failure, Result};
use crate::files;
pub use crate::files::real;
use crate::host::Host;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::identity::real_path;
use vmclaude_shim::{Identity, Place, Refusal, Registry, Verdict, decide};

/// The directory that a VM shows at `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its path on the host: physical, where it is now.
    pub root: PathBuf,
    /// The way from there to the current directory; empty in the root itself.
    pub rest: PathBuf,
    /// Whether it is enrolled, or only meant by the word `vmclaude`.
    pub enrolled: bool,
    /// Where it was enrolled, if that was another path.
    pub moved_from: Option<PathBuf>,
}

/// The decision for the current directory: the same function on the same facts as in the shim.
///
/// # Errors
/// When the registry cannot be trusted.
pub fn verdict(host: &Host) -> Result<Verdict> {
    let registry = Registry::read(&host.dirs.state).map_err(refused)?;
    let place = Place::here(host.cwd.clone(), host.env.get(OsStr::new("PWD")).map(|v| v.as_os_str()));
    Ok(decide(registry.as_ref(), &place))
}

/// The enrolled tree that the current directory lies in; `None` where nothing is enrolled.
///
/// # Errors
/// Exit 78: the registry cannot be trusted, the directory was replaced or deleted, a link led out of a tree.
pub fn project(host: &Host) -> Result<Option<Project>> {
    match verdict(host)? {
        Verdict::Host { .. } => Ok(None),
        Verdict::Refuse(refusal) => Err(refused(refusal)),
        Verdict::Vm(tree) => {
            Ok(Some(Project { root: tree.root, rest: tree.rest, enrolled: true, moved_from: tree.moved_from }))
        }
    }
}

/// The project for somebody who typed `vmclaude` or `vmclaude-container`: the enrolled tree, else the current directory,
/// because the explicit word is the consent; but nothing that could not be enrolled.
///
/// # Errors
/// As [`project`], and exit 78 for a directory that enrollment refuses.
pub fn project_or_here(host: &Host) -> Result<Project> {
    if let Some(project) = project(host)? {
        return Ok(project);
    }
    let root = host.cwd.clone().ok_or_else(|| refused(Refusal::NoDirectory))?;
    refuse::check(&root, host)?;
    Ok(Project { root, rest: PathBuf::new(), enrolled: false, moved_from: None })
}

/// Opens the project's root, and decides once more on what was opened: whatever is put at its path from now on, the
/// descriptor is the directory that was meant. Only the descriptor may be shown to a VM, never the path again.
///
/// # Errors
/// Exit 78 when the directory at the path is no longer the enrolled one.
pub fn open_root(host: &Host, project: &Project) -> Result<File> {
    let what = || format!("cannot open {}", shown(&project.root));
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = OpenOptions::new().read(true).custom_flags(flags).open(&project.root);
    let dir = dir.map_err(|e| files::at(&e, what(), &project.root))?;
    let identity = Identity::of_open(&dir).what(what)?;
    if !project.enrolled {
        return Ok(dir);
    }
    let lost = || refused(Refusal::Replaced { root: project.root.clone() });
    let registry = Registry::read(&host.dirs.state).map_err(refused)?.ok_or_else(lost)?;
    let opened = Chain { path: project.root.clone(), levels: vec![(project.root.clone(), Ok(identity))] };
    match in_tree(&registry, &opened) {
        Verdict::Vm(_) => Ok(dir),
        Verdict::Refuse(refusal) => Err(refused(refusal)),
        Verdict::Host { .. } => Err(lost()),
    }
}

/// The one way in which every verb turns what was typed into a directory: absolute, links resolved.
///
/// # Errors
/// When it is not there, cannot be reached, or is not a directory.
pub fn canonical(dir: Option<&Path>, host: &Host) -> Result<PathBuf> {
    let typed = dir.unwrap_or(Path::new("."));
    let from_here = absolute(typed, host)?;
    let real = real_path(&from_here)
        .map_err(|e| Failure::refused(format!("cannot enter {}", shown(typed))).because(e).next(ls(&from_here)))?;
    if !real.is_dir() {
        return Err(Failure::refused(format!("{} is not a directory", shown(&real)))
            .because("directories are enrolled, not files")
            .next(ls(&real)));
    }
    Ok(real)
}

/// What was typed, from `/` on, although it need not exist.
///
/// # Errors
/// When it is relative and the current directory was deleted.
pub fn absolute(typed: &Path, host: &Host) -> Result<PathBuf> {
    match &host.cwd {
        _ if typed.is_absolute() => Ok(typed.to_path_buf()),
        Some(cwd) => Ok(cwd.join(typed)),
        None => Err(refused(Refusal::NoDirectory)),
    }
}

/// Refuses words that only a person may say when Claude is the one who says them.
///
/// # Errors
/// Exit 78 when `CLAUDECODE` is set.
pub fn only_a_person(host: &Host, verb: &str) -> Result<()> {
    if host.env.contains_key(OsStr::new("CLAUDECODE")) {
        return Err(Failure::refused(format!("refusing vmclaude {verb}"))
            .because("Claude runs this command (CLAUDECODE is set), and only a person may leave the VM")
            .next(format!("vmclaude {verb} in a terminal of your own")));
    }
    Ok(())
}

/// A refusal of the shim's crate in the shape of this one.
pub fn refused(refusal: Refusal) -> Failure {
    let words = refusal.words();
    Failure::refused(words.what).because(words.because).next(words.next)
}

/// A path for a person's eyes: control characters made visible.
pub fn shown(path: &Path) -> String {
    vmclaude_shim::refusal::shown(path)
}

fn ls(path: &Path) -> String {
    format!("ls -ld {}", crate::files::quoted(path))
}
