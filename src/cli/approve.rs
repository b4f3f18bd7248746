//! `vmclaude approve`: a person looks at what a project requests, and says yes to exactly that, on a terminal.

use crate::cli::args::Approve;
use crate::enrollment::trust::{self, Asking};
use crate::enrollment::{only_a_person, open_root, project_or_here, shown};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::Host;
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
    for line in difference(before.as_deref(), &resolved.lines(), |name| host.var(name).is_some()) {
        report::note(&format!("  {line}"));
    }
    confirm(&digest)?;
    trust::approve(host, &project.root, &resolved, &digest)?;
    report::note("approved: exactly this, for this directory, until a byte of it changes");
    if !resolved.request.packages.is_empty() {
        report::note("the packages are in the image after: vmclaude image build");
    }
    Ok(Exit::OK)
}

/// What is gone, and the lines of now, of which those that are new are marked. What is worth most to somebody hostile comes
/// last, so that nothing pushes it away from the question.
fn difference(before: Option<&[String]>, now: &[String], is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let old = before.unwrap_or_default();
    let gone = old.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
    let mark = |line: &String| {
        let set = line.strip_prefix("env      ").map_or("", |name| here(is_set(name)));
        let (risk, why) = risk(line);
        match old.contains(line) {
            true => format!("  {line}{set}"),
            false => format!("+ {line}{set}   {}: {why}", risk.word()),
        }
    };
    let mut now: Vec<_> = now.iter().collect();
    now.sort_by_key(|line| risk(line).0);
    gone.chain(now.into_iter().map(mark)).collect()
}

/// What a wish is worth to somebody hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Risk {
    Low,
    Medium,
    High,
}

impl Risk {
    /// The word for it.
    fn word(self) -> &'static str {
        match self {
            Risk::Low => "low",
            Risk::Medium => "medium",
            Risk::High => "HIGH",
        }
    }
}

fn risk(line: &str) -> (Risk, &'static str) {
    match line.split_whitespace().next() {
        Some("mount") if line.ends_with("write") => (Risk::High, "the VM can change what is there"),
        Some("mount") => (Risk::Medium, "the VM can read what is there, and send it away"),
        Some("env") => (Risk::Medium, "the VM sees its value"),
        Some("network") => (Risk::Low, "the VM can send there what it sees"),
        Some("port") => (Risk::Low, "programs here can reach the VM"),
        Some("volume") => (Risk::Low, "what is there on the host is not seen in the VM"),
        _ => (Risk::Low, "it runs as root while the image is built"),
    }
}

/// Whether a variable is set in this shell; its value is never shown.
fn here(is_set: bool) -> &'static str {
    if is_set { " (set in this shell)" } else { " (not set in this shell)" }
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
        let marked = difference(Some(&old), &now, |name| name == "B");
        assert_eq!(marked[..2], ["- env      A", "  env      B (set in this shell)"]);
        assert!(marked[2].starts_with("+ mount    /d") && marked[2].contains("HIGH"), "{marked:?}");
        assert!(difference(None, &old, |_| false).iter().all(|l| l.starts_with('+') && l.contains("(not set in")));
    }

    #[test]
    fn what_is_worth_most_is_directly_above_the_question() {
        let mut now: Vec<_> = (0..60).map(|i| format!("network  n{i}.example:443")).collect();
        now.insert(0, "mount    /d at /mnt/d, read and write".to_owned());
        now.insert(1, "mount    /e at /mnt/e, read only".to_owned());
        for old in [&[][..], &now[..1], &["env      GONE".to_owned()]] {
            let marked = difference(Some(old), &now, |_| true);
            let last = marked.last().expect("a line");
            assert!(last.contains("/d at /mnt/d, read and write"), "{last}");
            assert!(marked[marked.len() - 2].contains("/e at"), "{marked:?}");
        }
    }
}
