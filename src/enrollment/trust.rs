//! A project's `.vmclaude.toml` on disk, and the approvals of what it requests. The file is read once, beneath the project's
//! own descriptor, and what is understood and what is compared with the approval are the same bytes.

use super::{Project, open_root, refuse, shown, store, system};
use crate::error::{Context, Failure, Result};
use crate::files::{private_dir, write_atomic};
use crate::host::{Host, now};
use crate::plan::approval::{Asker, Extra, Resolved};
use crate::plan::request::{self, Asked, FILE, LARGEST, Request, Wishes};
use crate::settings::Settings;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::{Identity, Registry, Verdict, registry};

#[cfg(target_os = "linux")]
const PATH_ONLY: i32 = libc::O_PATH;
#[cfg(not(target_os = "linux"))]
const PATH_ONLY: i32 = 0;

/// An approval on disk: outside every tree, private, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    project: PathBuf,
    digest: String,
    /// What the person was shown, for the next time's comparison.
    lines: Vec<String>,
    packages: Vec<String>,
    approved: u64,
}

/// What a project asks for, and what a person said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The file, understood.
    pub wishes: Wishes,
    /// The digest of the request as it is now, and its lines; or why it cannot be granted at all.
    pub now: Result<(Resolved, String)>,
    /// The digest that was approved, and its lines.
    pub approved: Option<(String, Vec<String>)>,
}

impl Asking {
    /// Reads what the project asks for; `None` when it has no such file.
    ///
    /// # Errors
    /// Exit 78 when the file is not a plain file of the user's, makes no sense or asks for what no project may have.
    pub fn read(host: &Host, project: &Project, root: &File) -> Result<Option<Asking>> {
        let Some(file) = read_file(root)? else { return Ok(None) };
        let wishes = request::parse(&file)?;
        let identity = lasting(&Identity::of_open(root).what(|| format!("cannot look at {}", shown(&project.root)))?);
        let asker = Asker { root: &project.root, identity: &identity, file: &file };
        let now = resolve(host, project, &wishes.request).map(|resolved| {
            let digest = resolved.digest(asker);
            (resolved, digest)
        });
        let approved = read_record(host, &project.root).map(|r| (r.digest, r.lines));
        Ok(Some(Asking { wishes, now, approved }))
    }

    /// The request, if it is exactly what was approved.
    pub fn granted(&self) -> Option<&Resolved> {
        let (resolved, digest) = self.now.as_ref().ok()?;
        self.approved.as_ref().filter(|(approved, _)| approved == digest).map(|_| resolved)
    }

    /// Why the requests are off, in one line; `None` when there are none or they are granted.
    pub fn off(&self) -> Option<String> {
        if self.wishes.request.is_empty() || self.granted().is_some() {
            return None;
        }
        let why = match (&self.now, &self.approved) {
            (Err(failure), _) => failure.because.first().cloned().unwrap_or_default(),
            (Ok(_), Some(_)) => "it is not what was approved".to_owned(),
            (Ok(_), None) => "nobody has approved it".to_owned(),
        };
        Some(format!("what {FILE} requests is off: {why}"))
    }
}

/// The user's settings for this project, and the line to say about requests that are off.
///
/// # Errors
/// As [`Asking::read`].
pub fn settings_for(
    host: &Host,
    settings: Settings,
    project: &Project,
    root: &File,
) -> Result<(Settings, Option<String>)> {
    let Some(asking) = Asking::read(host, project, root)? else { return Ok((settings, None)) };
    let settings = match asking.granted() {
        Some(granted) => settings.widened(granted),
        None => settings,
    };
    // Last, so that what a project says of its limits holds for what it was granted too.
    Ok((settings.tightened(&asking.wishes.limit), asking.off()))
}

/// Keeps the approval of exactly this.
///
/// # Errors
/// When it cannot be written.
pub fn approve(host: &Host, project: &Path, resolved: &Resolved, digest: &str) -> Result<()> {
    private_dir(&host.dirs.state)?;
    private_dir(&dir(host))?;
    let record = Record {
        version: 1,
        project: project.to_path_buf(),
        digest: digest.to_owned(),
        lines: resolved.lines(),
        packages: resolved.request.packages.clone(),
        approved: now(),
    };
    let text = serde_json::to_vec_pretty(&record).what(|| "cannot write the approval")?;
    write_atomic(&record_file(host, project), &text, 0o600)
}

/// Takes the approval back; whether there was one.
///
/// # Errors
/// When it cannot be removed.
pub fn revoke(host: &Host, project: &Path) -> Result<bool> {
    match std::fs::remove_file(record_file(host, project)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Failure::new("cannot take the approval back").because(e)),
    }
}

/// The packages that are approved for any project: the image is one for all. What a project asks for no longer, or one that
/// is gone or another by now, is not approved, whatever is on record.
pub fn packages(host: &Host) -> Vec<String> {
    let files = std::fs::read_dir(dir(host)).into_iter().flatten().flatten();
    files
        .filter_map(|f| parse_record(host, &f.path()))
        .filter_map(|record| granted(host, record.project))
        .flatten()
        .collect()
}

/// The packages that are granted to the project at this path now.
fn granted(host: &Host, root: PathBuf) -> Option<Vec<String>> {
    let project = Project { root, rest: PathBuf::new(), enrolled: false, moved_from: None };
    let opened = open_root(host, &project).ok()?;
    let asking = Asking::read(host, &project, &opened).ok().flatten()?;
    asking.granted().map(|resolved| resolved.request.packages.clone())
}

fn dir(host: &Host) -> PathBuf {
    host.dirs.state.join("approvals")
}

fn record_file(host: &Host, project: &Path) -> PathBuf {
    let hash = Sha256::digest(project.as_os_str().as_bytes());
    dir(host).join(format!("{:032x}.json", u128::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 16]))))
}

/// The approval of this project. One that cannot be read or trusted is none.
fn read_record(host: &Host, project: &Path) -> Option<Record> {
    parse_record(host, &record_file(host, project)).filter(|record| record.project == project)
}

fn parse_record(host: &Host, file: &Path) -> Option<Record> {
    let bytes = registry::read_private(&dir(host), file).ok()?;
    serde_json::from_slice(&bytes).ok().filter(|record: &Record| record.version == 1)
}

/// The bytes of the file beneath `root`, a plain file of the user's; `None` when there is nothing of that name.
fn read_file(root: &File) -> Result<Option<Vec<u8>>> {
    // Without waiting for a pipe's other end, and never through a link.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = match openat(root, FILE, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(nix::Error::ENOENT) => return Ok(None),
        Err(nix::Error::ELOOP) => return Err(request::bad("it is a link, and only the file itself is read")),
        Err(e) => return Err(request::bad(e.desc())),
    };
    let meta = file.metadata().map_err(request::bad)?;
    let me = nix::unistd::geteuid().as_raw();
    if !meta.is_file() {
        return Err(request::bad("it is not a plain file"));
    }
    if meta.uid() != me && meta.uid() != 0 {
        return Err(request::bad(format!("it belongs to user {} and you are user {me}", meta.uid())));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(request::bad)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(request::bad(format!("it is larger than {} KiB", LARGEST >> 10))),
        false => Ok(Some(bytes)),
    }
}

/// What of an identity stays over reboots ([`Identity::same_as`]).
fn lasting(identity: &Identity) -> String {
    let fs = if identity.birth == 0 { identity.fs } else { 0 };
    Identity { fs, ..*identity }.text()
}

fn resolve(host: &Host, project: &Project, request: &Request) -> Result<Resolved> {
    let mounts = request.mounts.iter().map(|asked| mount(host, project, asked)).collect::<Result<_>>()?;
    Ok(Resolved { request: request.clone(), mounts })
}

/// Looks up one mount. What is looked at and what is noted is one and the same open directory.
fn mount(host: &Host, project: &Project, asked: &Asked) -> Result<(Extra, String)> {
    let typed = match (asked.host.strip_prefix("~/"), asked.host.strip_prefix("${PROJECT}/")) {
        (Some(rest), _) => host.home.join(rest),
        (_, Some(rest)) => project.root.join(rest),
        _ => PathBuf::from(&asked.host),
    };
    let real = std::fs::canonicalize(&typed).map_err(|e| request::bad(format!("{}: {e}", shown(&typed))))?;
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(PATH_ONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(&real)
        .map_err(|e| request::bad(format!("{}: {e}", shown(&real))))?;
    let meta = open.metadata().map_err(request::bad)?;
    let identity = Identity::of_open(&open).map_err(request::bad)?;
    never(host, project, &real)
        .map_err(|why| request::bad(format!("no project may ask for {}: {why}", shown(&real))))?;
    let dir = crate::plan::Identity { dev: meta.dev(), ino: meta.ino() };
    let extra = Extra { host: real, guest: (&asked.guest).into(), writable: asked.writable, identity: dir };
    Ok((extra, lasting(&identity)))
}

/// Why this directory is never a mount of a project's wish.
fn never(host: &Host, project: &Project, real: &Path) -> std::result::Result<(), String> {
    if let Err(failure) = refuse::check(real, host) {
        return Err(failure.because.join(", "));
    }
    if let Some(system) = system::part(real, &refuse::Ours::of(host).homes) {
        return Err(format!("{system} is the system's"));
    }
    // By another way in, what is protected in a tree would not be.
    let overlaps = |tree: &Path| real.starts_with(tree) || tree.starts_with(real);
    let id = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let trees = store::read(&host.dirs.state).map_err(|e| e.what)?;
    let trees = trees.iter().map(|entry| entry.path.as_path()).chain([project.root.as_path()]);
    for tree in trees {
        if overlaps(tree) || id(tree) == id(real) {
            return Err(format!("it is, holds or lies in {}, a project", shown(tree)));
        }
    }
    let registry = Registry::read(&host.dirs.state).ok().flatten();
    match registry.map(|registry| in_tree(&registry, &Chain::of(real.to_path_buf()))) {
        None | Some(Verdict::Host { below: None }) => Ok(()),
        _ => Err("it is, holds or lies in an enrolled project".to_owned()),
    }
}
