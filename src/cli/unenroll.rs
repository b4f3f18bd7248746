//! `vmclaude unenroll`: `claude` typed in this directory runs on the host again.

use crate::cli::args::Unenroll;
use crate::cli::list::moved_to;
use crate::enrollment::registry::remove;
use crate::enrollment::store::{Store, read};
use crate::enrollment::{absolute, only_a_person, real, shown};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::files::quoted;
use crate::host::Host;
use crate::report;
use std::path::Path;
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::registry::{Entry, render};
use vmclaude_shim::{Identity, Registry, Verdict};

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
        confirm(host, &dir, identity)?;
    }
    let mut store = Store::open_known(host)?;
    let before = store.entries.clone();
    let removed = remove(&mut store.entries, &dir, identity);
    if removed.is_empty() {
        return Err(not_enrolled(&dir, &before));
    }
    store.save()?;
    for entry in removed {
        let at = if entry.path.exists() { &entry.path } else { &dir };
        report::note(&format!("{} is not enrolled any more: {}", shown(&entry.path), then(at, &store.entries)));
        if let Some(now) = moved_to(&entry, host).filter(|now| now != at) {
            report::note(&format!(
                "  nor is {}, which is the one that was enrolled: {}",
                shown(&now),
                then(&now, &store.entries)
            ));
        }
    }
    Ok(Exit::OK)
}

/// What claude does in `dir` when these are enrolled, in words: the directory can lie in another one that is.
fn then(dir: &Path, entries: &[Entry]) -> String {
    let registry = Registry::parse(render(entries));
    match registry.map(|registry| in_tree(&registry, &Chain::of(dir.to_path_buf()))) {
        Ok(Verdict::Vm(tree)) => format!("claude runs in a VM with {} there", shown(&tree.root)),
        Ok(Verdict::Host { .. }) => "claude runs on the host there".to_owned(),
        _ if !dir.exists() => "it is gone".to_owned(),
        _ => "claude refuses to run there".to_owned(),
    }
}

fn confirm(host: &Host, dir: &Path, identity: Option<Identity>) -> Result<()> {
    if !host.can_ask() {
        return Err(Failure::usage("refusing to unenroll without asking")
            .because("there is no terminal to ask on")
            .next(format!("vmclaude unenroll --yes {}", quoted(dir))));
    }
    let mut entries = read(&host.dirs.state)?;
    remove(&mut entries, dir, identity);
    if report::agreed(
        &format!("From now on {0} is not enrolled itself: {1}. Sure?", shown(dir), then(dir, &entries)),
        false,
    )? {
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
