//! `vmclaude route` and `where`: the decision, for the shim and for prompts.

use crate::cli::args::{Route, RunFlags, State};
use crate::enrollment::{project, refused, shown, store, verdict};
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::report;
use std::path::Path;
use vmclaude_shim::Verdict;

/// Runs Claude in a VM in an enrolled tree, and becomes the host's claude elsewhere.
///
/// # Errors
/// When the decision is neither, or what was decided cannot be done.
pub(super) fn run(host: &Host, words: Route) -> Result<Exit> {
    let host = at(host, words.state.state.as_deref());
    match verdict(&host)? {
        Verdict::Refuse(refusal) => Err(refused(refusal)),
        Verdict::Host { .. } => crate::cli::host::become_host(&host, &words.args),
        // A completion script that asks claude for its words must not boot a machine at every press of Tab.
        Verdict::Vm(_) if host.env.contains_key(std::ffi::OsStr::new("COMP_LINE")) => Ok(Exit::Code(1)),
        Verdict::Vm(tree) => {
            if let Some(old) = tree.moved_from.filter(|_| host.tty[2]) {
                report::note(&format!("{} was enrolled as {}", shown(&tree.root), shown(&old)));
            }
            crate::run::claude(&host, &RunFlags::default(), words.args)
        }
    }
}

/// Prints the root of the enrolled tree, or nothing.
///
/// # Errors
/// When the decision is a refusal, or stdout cannot be written.
pub(super) fn print_tree(host: &Host, state: &State) -> Result<Exit> {
    if let Some(project) = project(&at(host, state.state.as_deref()))? {
        report::data(&format!("{}\n", project.root.to_string_lossy()))?;
    }
    Ok(Exit::OK)
}

/// The host with the state directory that the caller knows: the environment may have been changed since.
pub(super) fn at(host: &Host, state: Option<&Path>) -> Host {
    let mut host = host.clone();
    if let Some(state) = state.filter(|state| **state != host.dirs.state) {
        match store::dirs(state) {
            Some(dirs) => host.dirs = dirs,
            None => host.dirs.state = state.to_path_buf(),
        }
    }
    host
}
