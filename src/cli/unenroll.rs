//! `vmclaude unenroll`: `claude` typed in this directory runs on the host again.

use crate::cli::args::Unenroll;
use crate::enrollment::registry::remove;
use crate::enrollment::store::Store;
use crate::enrollment::{absolute, only_a_person, real, shown};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::files::quoted;
use crate::host::Host;
use crate::report;
use std::path::Path;
use vmclaude_shim::Identity;
use vmclaude_shim::registry::Entry;

/// Takes a directory out of the registry, after asking.
///
/// # Errors
/// When Claude asks for it, nobody can be asked, the directory is not enrolled, or the registry cannot be changed.
pub(super) fn run(host: &Host, words: &Unenroll) -> Result<Exit> {
    only_a_person(host, "unenroll")?;
    // A directory that is gone can be taken out by its name.
    let dir = real(&absolute(words.dir.as_deref().unwrap_or(Path::new(".")), host)?);
    let identity = Identity::of(&dir).ok();
    if !words.yes {
        confirm(host, &dir)?;
    }
    let mut store = Store::open_known(host)?;
    let before = store.entries.clone();
    let removed = remove(&mut store.entries, &dir, identity);
    if removed.is_empty() {
        return Err(not_enrolled(&dir, &before));
    }
    store.save()?;
    for path in removed {
        report::note(&format!("{} is not enrolled any more: claude runs on the host there", shown(&path)));
    }
    Ok(Exit::OK)
}

fn confirm(host: &Host, dir: &Path) -> Result<()> {
    if !host.can_ask() {
        return Err(Failure::usage("refusing to unenroll without asking")
            .because("there is no terminal to ask on")
            .next(format!("vmclaude unenroll --yes {}", quoted(dir))));
    }
    if report::agreed(&format!("From now on claude runs on the host in {}. Sure?", shown(dir)), false)? {
        return Ok(());
    }
    Err(Failure::usage("nothing changed").because("you did not say yes").next("vmclaude list"))
}

fn not_enrolled(dir: &Path, entries: &[Entry]) -> Failure {
    let failure = Failure::usage(format!("{} is not enrolled", shown(dir)));
    match entries.iter().filter(|e| dir.starts_with(&e.path)).max_by_key(|e| e.path.as_os_str().len()) {
        Some(tree) => failure
            .because(format!("it lies in {}, which is", shown(&tree.path)))
            .next(format!("vmclaude unenroll {}", quoted(&tree.path))),
        None => failure.next("vmclaude list"),
    }
}
