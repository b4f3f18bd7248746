//! `vmclaude guard`: the second barrier, for ways to start the host's claude that no shell sees (an absolute path, npx, an
//! editor's own binary). Registered as a hook of the host's Claude Code; exit 2 is what stops Claude Code there.

use crate::cli::args::Guard;
use crate::enrollment::{barrier, only_a_person, refused, shown};
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use serde::Deserialize;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::{Place, Registry, Verdict, decide};

/// The one exit code with which a hook stops Claude Code.
const STOP: u8 = 2;
/// Far more than a hook's input; a prompt may be in it.
const LARGEST: u64 = 64 << 20;

/// What of a hook's input we look at.
#[derive(Deserialize)]
struct Input {
    cwd: Option<PathBuf>,
}

/// The tree in which a person has asked for the host's claude by `vmclaude host`.
pub(super) const ON_PURPOSE: &str = "VMCLAUDE_HOST";

/// Answers Claude Code, or puts the hook that asks into its settings.
///
/// # Errors
/// When the settings cannot be changed. A failure of the answer itself is a reason to stop.
pub(super) fn run(host: &Host, words: &Guard) -> Result<Exit> {
    match (words.install, words.remove) {
        (true, _) => install(host),
        (_, true) => remove(host),
        _ => Ok(answer(host, words.state.state.as_deref().unwrap_or(&host.dirs.state))),
    }
}

fn install(host: &Host) -> Result<Exit> {
    let file = shown(&barrier::file(host));
    report::note(&match barrier::install(host)? {
        true => format!("from now on the host's Claude Code asks vmclaude, and stops in enrolled directories ({file})"),
        false => format!("the host's Claude Code asks vmclaude already ({file})"),
    });
    Ok(Exit::OK)
}

fn remove(host: &Host) -> Result<Exit> {
    only_a_person(host, "guard --remove")?;
    let file = shown(&barrier::file(host));
    if !barrier::remove(host)? {
        report::note(&format!("there is no hook of vmclaude in {file}"));
        return Ok(Exit::OK);
    }
    report::note(&format!("the host's Claude Code asks no more ({file})"));
    barrier::decline(host)?;
    Ok(Exit::OK)
}

/// Stops Claude Code when it or the directory that it names is in an enrolled tree, and when the registry cannot be trusted.
fn answer(host: &Host, state: &Path) -> Exit {
    let mut text = Vec::new();
    let cwd = match std::io::stdin().take(LARGEST).read_to_end(&mut text) {
        Ok(_) if text.is_empty() => None,
        _ => serde_json::from_slice::<Input>(&text).ok().and_then(|input| input.cwd),
    };
    let registry = match Registry::read(state) {
        Ok(registry) => registry,
        Err(refusal) => {
            report::failure(&refused(refusal));
            return Exit::Code(STOP);
        }
    };
    let here = decide(registry.as_ref(), &Place::here(host.cwd.clone(), None));
    let named = cwd.and_then(|cwd| vmclaude_shim::identity::real_path(&cwd).ok()).zip(registry.as_ref());
    let named = named.map(|(cwd, registry)| in_tree(registry, &Chain::of(cwd)));
    for verdict in [Some(here), named].into_iter().flatten() {
        match verdict {
            Verdict::Host { .. } => continue,
            Verdict::Vm(tree) if host.env.get(OsStr::new(ON_PURPOSE)).is_some_and(|root| *root == *tree.root) => {
                continue;
            }
            Verdict::Vm(tree) => {
                report::note(&format!("{} is enrolled: claude must run in its VM (type: claude)", shown(&tree.root)));
            }
            Verdict::Refuse(refusal) => report::failure(&refused(refusal)),
        }
        return Exit::Code(STOP);
    }
    Exit::OK
}
