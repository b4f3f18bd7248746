//! The decision, pure: registry and directory in, verdict out.

use crate::identity::{Identity, birth, fs_id};
use crate::refusal::{Damage, Refusal};
use crate::registry::{FILE, Line, Registry, escape, unescape};
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// What `claude` does here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is enrolled here: the host's claude, untouched.
    Host {
        /// An enrolled tree below this directory, which the host's claude could reach.
        below: Option<PathBuf>,
    },
    /// A VM with this tree.
    Vm(Tree),
    /// Neither.
    Refuse(Refusal),
}

/// The enrolled tree that a directory lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its root, where it is now.
    pub root: PathBuf,
    /// The way from there to the directory: empty in the root itself.
    pub rest: PathBuf,
    /// Where it was enrolled, when that is elsewhere.
    pub moved_from: Option<PathBuf>,
}

/// Where somebody stands.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Where they are; `None` when it was deleted or nobody can say.
    pub physical: Option<Chain>,
    /// What the shell calls it, when that is another name of the same directory.
    pub logical: Option<Chain>,
}

/// A directory and those above it, the nearest first, `/` left out because it is never enrolled.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The directory.
    pub path: PathBuf,
    /// Each with its identity, or the reason why that is unknown.
    pub levels: Vec<(PathBuf, Result<Identity, String>)>,
}

impl Place {
    /// Reads the facts of the current directory. `cwd` is its physical path, `pwd` the shell's `$PWD`.
    pub fn here(cwd: Option<PathBuf>, pwd: Option<&OsStr>) -> Place {
        let Some(cwd) = cwd else { return Place::default() };
        let logical =
            pwd.map(Path::new).filter(|pwd| *pwd != cwd && names_here(pwd)).map(|pwd| Chain::of(pwd.to_path_buf()));
        let mut physical = Chain::of(cwd);
        // What we stand in, even when something else has been put or mounted at its path.
        if let (Some(first), Ok(here)) = (physical.levels.first_mut(), Identity::of(Path::new("."))) {
            first.1 = Ok(here);
        }
        Place { physical: Some(physical), logical }
    }
}

impl Chain {
    /// Looks at `path` and everything above it.
    pub fn of(path: PathBuf) -> Chain {
        let mut levels: Vec<(PathBuf, Result<Identity, String>)> = Vec::new();
        // One file system's id is asked for once, not at every level.
        let mut known: Option<(u64, u64)> = None;
        for level in path.ancestors().filter(|p| p.parent().is_some()) {
            let identity = std::fs::metadata(level).and_then(|meta| {
                let fs = match known {
                    Some((dev, fs)) if dev == meta.dev() => fs,
                    _ => fs_id(level)?,
                };
                known = Some((meta.dev(), fs));
                Ok(Identity { fs, ino: meta.ino(), birth: birth(&meta) })
            });
            levels.push((level.to_path_buf(), identity.map_err(|e| e.to_string())));
        }
        Chain { path, levels }
    }
}

/// The decision for somebody who stands at `place`. `registry` is `None` when nothing was ever enrolled.
pub fn decide(registry: Option<&Registry>, place: &Place) -> Verdict {
    let Some(registry) = registry.filter(|r| !r.is_empty()) else { return Verdict::Host { below: None } };
    let Some(physical) = &place.physical else { return Verdict::Refuse(Refusal::NoDirectory) };
    let verdict = in_tree(registry, physical);
    if let (Verdict::Host { .. }, Some(logical)) = (&verdict, &place.logical)
        && !matches!(in_tree(registry, logical), Verdict::Host { .. })
    {
        let (logical, physical) = (logical.path.clone(), physical.path.clone());
        return Verdict::Refuse(Refusal::LedOut { logical, physical });
    }
    verdict
}

/// The decision for one chain. The nearest directory that the registry knows, by path or by identity, decides.
pub fn in_tree(registry: &Registry, chain: &Chain) -> Verdict {
    let found = match search(registry, chain) {
        Ok(found) => found,
        Err(damage) => return Verdict::Refuse(Refusal::Registry { path: PathBuf::from(FILE), damage }),
    };
    for ((path, identity), known) in chain.levels.iter().zip(&found.levels) {
        let identity = match identity {
            Ok(identity) => identity,
            Err(error) => return Verdict::Refuse(Refusal::Unknown { path: path.clone(), error: error.clone() }),
        };
        let moved_from = match (&known.by_path, &known.by_identity) {
            (Some(enrolled), _) if identity.same_as(enrolled) => None,
            (Some(_), _) => return Verdict::Refuse(Refusal::Replaced { root: path.clone() }),
            (None, Some(old)) => Some(old.clone()),
            (None, None) => continue,
        };
        let rest = chain.path.strip_prefix(path).unwrap_or(Path::new("")).to_path_buf();
        return Verdict::Vm(Tree { root: path.clone(), rest, moved_from });
    }
    Verdict::Host { below: found.below }
}

/// What the registry knows about each level of a chain.
struct Found {
    levels: Vec<Known>,
    below: Option<PathBuf>,
}

#[derive(Clone, Default)]
struct Known {
    /// The identity that was enrolled at this path.
    by_path: Option<Identity>,
    /// The path at which this identity was enrolled.
    by_identity: Option<PathBuf>,
}

/// One pass over the registry. Per line: one comparison for the path, one number per level for the identity.
fn search(registry: &Registry, chain: &Chain) -> Result<Found, Damage> {
    let text = escape(&chain.path);
    let lengths: Vec<usize> = chain.levels.iter().map(|(path, _)| escape(path).len()).collect();
    let texts: Vec<Option<String>> = chain.levels.iter().map(|(_, id)| recognisable(id)).collect();
    // The last digits of the birth time (or of the inode) tell nearly all directories apart at the cost of one number.
    let tails: Vec<u64> = texts.iter().map(|t| t.as_ref().map_or(0, |t| tail(t.as_bytes()))).collect();
    let mut found = Found { levels: vec![Known::default(); chain.levels.len()], below: None };
    for line in registry.lines() {
        let line = line?;
        if let Some(level) =
            lengths.iter().position(|len| *len == line.path.len()).filter(|_| is_prefix(line.path, &text))
        {
            found.levels[level].by_path = Some(Identity::parse(line.identity).ok_or(Damage::Line)?);
        } else if found.below.is_none() && line.path.len() > text.len() && is_prefix(&text, line.path) {
            found.below = unescape(line.path);
        }
        let number = tail(line.identity);
        for (level, _) in tails.iter().enumerate().filter(|(_, tail)| **tail == number) {
            note_identity(&mut found.levels[level], texts[level].as_deref(), &line)?;
        }
    }
    Ok(found)
}

fn note_identity(known: &mut Known, text: Option<&str>, line: &Line<'_>) -> Result<(), Damage> {
    if text.is_some_and(|t| t.as_bytes() == line.identity) {
        known.by_identity = Some(line.entry()?.path);
    }
    Ok(())
}

fn recognisable(identity: &Result<Identity, String>) -> Option<String> {
    identity.as_ref().ok().filter(|id| id.is_distinctive()).map(Identity::text)
}

fn tail(text: &[u8]) -> u64 {
    text.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Whether `upper` is `lower` or a directory above it: by components, never by characters.
fn is_prefix(upper: &[u8], lower: &[u8]) -> bool {
    lower.starts_with(upper) && matches!(lower.get(upper.len()), None | Some(b'/'))
}

/// Whether `pwd` may be believed: absolute, without dots, and the directory that we stand in.
fn names_here(pwd: &Path) -> bool {
    let plain = pwd.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    let same = || {
        let (there, here) = (std::fs::metadata(pwd).ok()?, std::fs::metadata(".").ok()?);
        Some(there.dev() == here.dev() && there.ino() == here.ino())
    };
    pwd.is_absolute() && plain && same().unwrap_or(false)
}
