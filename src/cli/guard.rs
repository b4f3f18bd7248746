//! `vmclaude guard`: the second barrier, for ways to start the host's claude that no shell sees (an absolute path, npx, an
//! editor's own binary). Registered as a hook of the host's Claude Code; exit 2 is what stops Claude Code there.

use crate::cli::args::State;
use crate::enrollment::{refused, shown};
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use serde::Deserialize;
use std::io::Read;
use std::path::PathBuf;
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

/// Stops Claude Code when it or the directory that it names is in an enrolled tree, and when the
/// registry cannot be trusted.
///
/// # Errors
/// None: a failure is a reason to stop.
#[allow(clippy::unnecessary_wraps)] // one shape for every verb
pub(super) fn run(host: &Host, state: &State) -> Result<Exit> {
    let state = state.state.as_ref().unwrap_or(&host.dirs.state);
    let mut text = Vec::new();
    let cwd = match std::io::stdin().take(LARGEST).read_to_end(&mut text) {
        Ok(_) if text.is_empty() => None,
        _ => serde_json::from_slice::<Input>(&text).ok().and_then(|input| input.cwd),
    };
    let registry = match Registry::read(state) {
        Ok(registry) => registry,
        Err(refusal) => {
            report::failure(&refused(refusal));
            return Ok(Exit::Code(STOP));
        }
    };
    let here = decide(registry.as_ref(), &Place::here(host.cwd.clone(), None));
    let named = cwd.and_then(|cwd| std::fs::canonicalize(cwd).ok()).zip(registry.as_ref());
    let named = named.map(|(cwd, registry)| in_tree(registry, &Chain::of(cwd)));
    for verdict in [Some(here), named].into_iter().flatten() {
        match verdict {
            Verdict::Host { .. } => continue,
            Verdict::Vm(tree) => {
                report::note(&format!("{} is enrolled: claude must run in its VM (type: claude)", shown(&tree.root)));
            }
            Verdict::Refuse(refusal) => report::failure(&refused(refusal)),
        }
        return Ok(Exit::Code(STOP));
    }
    Ok(Exit::OK)
}
