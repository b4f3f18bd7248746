//! `vmclaude session`: what runs now, and what can be done with it.

use crate::cli::args::{Output, SessionForward, SessionLogs, SessionStop, SessionVerb};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::{Host, now};
use crate::report::{self, sessions};
use crate::session::record::{self, Facts};
use crate::session::{desk, ended};
use serde::Serialize;
use std::path::PathBuf;

/// The answer of `vmclaude session list --json`. `version` changes when a field's meaning does.
#[derive(Debug, Serialize)]
struct Answer {
    version: u32,
    sessions: Vec<record::Seen>,
    ended: Vec<ended::Ended>,
}

/// Does what is asked.
///
/// # Errors
/// When there is no such session, or it cannot be done.
pub(super) fn run(host: &Host, verb: &SessionVerb) -> Result<Exit> {
    match verb {
        SessionVerb::List(output) => list(host, output),
        SessionVerb::Stop(words) => stop(host, words),
        SessionVerb::Logs(words) => logs(host, words),
        SessionVerb::Forward(words) => forward(host, words),
    }?;
    Ok(Exit::OK)
}

fn list(host: &Host, output: &Output) -> Result<()> {
    let runs = host.dirs.runs();
    let (sessions, ended) = (record::seen(&runs), ended::all(&runs));
    if output.json {
        let answer = Answer { version: 1, sessions, ended };
        return report::json(&answer);
    }
    if sessions.is_empty() {
        report::note("no session runs");
    }
    report::text(&sessions::table(&sessions, now()))
}

fn stop(host: &Host, words: &SessionStop) -> Result<()> {
    let runs = host.dirs.runs();
    let chosen = match words.all {
        true => record::survey(&runs).0,
        false => vec![choose(host, words.id.as_deref())?],
    };
    for facts in &chosen {
        desk::stop(&runs.join(&facts.id))?;
        report::note(&format!("{} is over", facts.id));
    }
    record::prune(&runs).map(drop)
}

fn forward(host: &Host, words: &SessionForward) -> Result<()> {
    let facts = choose(host, words.session.as_deref())?;
    desk::forward(&host.dirs.runs().join(&facts.id), words.port)?;
    report::note(&format!("{} in session {}, until it ends", words.port, facts.id));
    Ok(())
}

/// Of the session that is named; without a name, of the one of this project that runs, or else of the last that ended.
fn logs(host: &Host, words: &SessionLogs) -> Result<()> {
    let runs = host.dirs.runs();
    let living = record::survey(&runs).0;
    let over = ended::all(&runs);
    let fits = |facts: &Facts| words.id.as_ref().is_none_or(|id| facts.id.starts_with(id.as_str()));
    let here = |facts: &Facts| words.id.is_some() || host.cwd.iter().any(|cwd| cwd.starts_with(&facts.project));
    let lives = living.iter().rfind(|facts| fits(facts) && here(facts));
    let dead =
        over.iter().rfind(|e| fits(&e.facts) && here(&e.facts)).or_else(|| over.iter().rfind(|e| fits(&e.facts)));
    let (head, dir): (String, PathBuf) = match (lives, dead) {
        (Some(facts), _) => (sessions::head(facts, now(), None), runs.join(&facts.id)),
        (None, Some(e)) => (sessions::head(&e.facts, now(), Some(e)), ended::dir(&runs, &e.facts.id)),
        (None, None) => return Err(none(words.id.as_deref())),
    };
    report::note(&head);
    let logs = ended::logs(&dir);
    if logs.is_empty() {
        report::note("its logs say nothing");
    }
    report::text(&logs.iter().map(|(name, text)| sessions::log(name, text)).collect::<String>())
}

/// The session that is named by the start of its id, or the only one of this project, or the only one at all.
fn choose(host: &Host, id: Option<&str>) -> Result<Facts> {
    let all = record::survey(&host.dirs.runs()).0;
    let here =
        |facts: &&Facts| host.cwd.iter().any(|cwd| cwd.starts_with(&facts.project) && facts.project.parent().is_some());
    let fitting: Vec<&Facts> = match id {
        Some(id) => all.iter().filter(|facts| facts.id.starts_with(id)).collect(),
        None if all.iter().any(|facts| here(&facts)) => all.iter().filter(here).collect(),
        None => all.iter().collect(),
    };
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => Err(none(id)),
        _ => {
            let ids: Vec<&str> = fitting.iter().map(|f| f.id.as_str()).collect();
            Err(Failure::usage(format!("{} sessions could be meant", fitting.len()))
                .because(ids.join(", "))
                .next("vmclaude session list   # then the same command with an ID"))
        }
    }
}

fn none(id: Option<&str>) -> Failure {
    let what = match id {
        Some(id) => format!("there is no session {}", id.escape_debug()),
        None => "there is no session".to_owned(),
    };
    Failure::usage(what).because("none that is running or remembered has that name").next("vmclaude session list")
}
