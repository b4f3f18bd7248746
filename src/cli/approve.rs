//! `vmclaude approve`: a person looks at what a project requests, and says yes to exactly that, on a terminal.

use crate::cli::args::Approve;
use crate::enrollment::trust::{self, Asking};
use crate::enrollment::{only_a_person, open_root, project_or_here, shown};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
use crate::plan::approval::Resolved;
use crate::plan::request::FILE;
use crate::report;

/// How many letters of the digest are typed: enough that no habit and no stray key says yes.
const WORD: usize = 4;

/// Shows the request against what was approved before, and asks for a word.
///
/// # Errors
/// When Claude asks for it, there is no terminal, the file cannot be used, or the word is another one.
pub(super) fn run(host: &Host, words: &Approve) -> Result<Exit> {
    only_a_person(host, "approve")?;
    let project = project_or_here(host)?;
    if words.revoke {
        report::note(match trust::revoke(host, &project.root)? {
            true => "the approval is taken back: what this project requests is off",
            false => "nothing was approved for this project",
        });
        return Ok(Exit::OK);
    }
    let root = open_root(host, &project)?;
    let asking = Asking::read(host, &project, &root)?;
    let Some(asking) = asking.filter(|asking| !asking.wishes.request.is_empty()) else {
        report::note(&format!("{} requests nothing (no [request] in its {FILE})", shown(&project.root)));
        return Ok(Exit::OK);
    };
    if asking.granted().is_some() {
        report::note("what this project requests is approved already");
        return Ok(Exit::OK);
    }
    let (resolved, digest) = asking.now?;
    if !host.can_ask() {
        return Err(no_terminal());
    }
    let before = asking.approved.map(|(_, lines)| lines);
    report::note(&format!("{} requests, beyond your own settings:", shown(&project.root)));
    for line in difference(before.as_deref(), &resolved.lines()) {
        report::note(&format!("  {line}"));
    }
    environment(host, &resolved);
    confirm(&digest)?;
    trust::approve(host, &project.root, &resolved, &digest)?;
    report::note("approved: exactly this, for this directory, until a byte of it changes");
    if !resolved.request.packages.is_empty() {
        report::note("the packages are in the image after: vmclaude image build");
    }
    Ok(Exit::OK)
}

/// The lines of now, those that are new and those that are gone marked.
fn difference(before: Option<&[String]>, now: &[String]) -> Vec<String> {
    let old = before.unwrap_or_default();
    let mark = |line: &String| if old.contains(line) { format!("  {line}") } else { format!("+ {line}{}", risk(line)) };
    let gone = old.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
    now.iter().map(mark).chain(gone).collect()
}

/// One word of what a wish is worth to somebody hostile.
fn risk(line: &str) -> &'static str {
    match line.split_whitespace().next() {
        Some("mount") if line.ends_with("write") => "   HIGH: the VM can change what is there",
        Some("mount") => "   medium: the VM can read what is there, and send it away",
        Some("env") => "   medium: the VM sees its value",
        Some("network") => "   low",
        Some("port") => "   low: programs here can reach the VM",
        Some("volume") => "   low: what is there on the host is not seen in the VM",
        _ => "   low: it runs as root while the image is built",
    }
}

/// Whether the variables are set here; their values are never shown.
fn environment(host: &Host, resolved: &Resolved) {
    for name in &resolved.request.env {
        let is = if host.var(name).is_some() { "set" } else { "not set" };
        report::note(&format!("  ({name} is {is} in this shell)"));
    }
}

fn no_terminal() -> Failure {
    Failure::refused("refusing to approve without asking")
        .because("there is no terminal to ask on")
        .next("vmclaude approve, typed in a terminal")
}

fn confirm(digest: &str) -> Result<()> {
    let word = &digest[..WORD];
    let answer = report::ask_afresh(&format!("Type {word} to approve: ")).ok_or_else(no_terminal)?;
    match answer.trim() == word {
        true => Ok(()),
        false => Err(Failure::refused("nothing was approved")
            .because(format!("you did not type {word}"))
            .next("vmclaude approve")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_and_what_is_gone_is_marked() {
        let lines = |all: &[&str]| all.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let (old, now) =
            (lines(&["env      A", "env      B"]), lines(&["env      B", "mount    /d at /mnt/d, read and write"]));
        let marked = difference(Some(&old), &now);
        assert_eq!(marked[0], "  env      B");
        assert!(marked[1].starts_with("+ mount    /d") && marked[1].contains("HIGH"), "{marked:?}");
        assert_eq!(marked[2], "- env      A");
        assert!(difference(None, &old).iter().all(|l| l.starts_with('+')));
    }
}
