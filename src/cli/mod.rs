//! One file per verb; this one sends each invocation to its verb.

pub mod args;
mod completions;
mod enroll;
mod guard;
mod hook;
mod host;
#[cfg(target_os = "linux")]
mod image;
mod list;
mod man;
mod prune;
mod route;
mod status;
mod unenroll;

#[cfg(not(target_os = "linux"))]
use crate::error::Failure;
use crate::error::Result;
use crate::exit::{Exit, USAGE};
use crate::host::{Host, Name};
use crate::{report, settings};
use args::{Container, Verb, Vmclaude};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

/// The share server, when this process was started as one: without an environment, and so perhaps without a home.
pub fn without_facts() -> Option<Result<Exit>> {
    #[cfg(target_os = "linux")]
    if crate::host::first_word().is_some_and(|word| word == crate::share::VERB) {
        return Some(crate::share::serve());
    }
    None
}

/// Runs this invocation to its end.
///
/// # Errors
/// The verb's failure, still to be shown.
pub fn run(host: &Host) -> Result<Exit> {
    match host.name {
        Name::Container => match parse::<Container>("vmclaude-container", &host.args)? {
            Ok(c) => crate::run::command(host, &c.flags, c.command),
            Err(exit) => Ok(exit),
        },
        Name::Vmclaude if is_verb(host.args.first()) => match parse::<Vmclaude>("vmclaude", &host.args)? {
            Ok(v) => verb(host, v.verb),
            Err(exit) => Ok(exit),
        },
        Name::Vmclaude => crate::run::claude(host, &args::RunFlags::default(), host.args.clone()),
    }
}

fn verb(host: &Host, verb: Verb) -> Result<Exit> {
    match verb {
        Verb::Run(r) => crate::run::claude(host, &r.flags, r.args),
        Verb::Enroll(words) => enroll::run(host, &words),
        Verb::Unenroll(words) => unenroll::run(host, &words),
        Verb::List(output) => list::run(host, &output),
        Verb::Hook(words) => hook::run(host, &words),
        Verb::Completions(words) => completions::run(&words),
        Verb::Man(words) => man::run(&words),
        Verb::Route(words) => route::run(host, words),
        Verb::Where(state) => route::print_tree(host, &state),
        Verb::Guard(state) => guard::run(host, &state),
        Verb::Status(output) => status::run(host, &output),
        Verb::Prune => prune::run(host),
        Verb::Host(words) => self::host::run(host, &words),
        #[cfg(target_os = "linux")]
        Verb::Image(words) => image::run(host, &words.verb, &settings::load(host)?.packages),
        #[cfg(not(target_os = "linux"))]
        Verb::Image(_) => Err(Failure::new("cannot handle images").because("Apple's container is not supported yet")),
    }
}

/// Whether the first word is one of our verbs; `help` is clap's.
fn is_verb(word: Option<&OsString>) -> bool {
    let Some(word) = word.and_then(|w| w.to_str()) else { return false };
    word == "help" || Vmclaude::command().get_subcommands().any(|c| c.get_name() == word)
}

/// The parsed words, or the exit of a printed help text.
fn parse<T: Parser>(name: &str, words: &[OsString]) -> Result<Result<T, Exit>> {
    match T::try_parse_from(std::iter::once(OsString::from(name)).chain(words.iter().cloned())) {
        Ok(parsed) => Ok(Ok(parsed)),
        Err(e) if !e.use_stderr() => {
            report::help(&e)?;
            Ok(Err(Exit::OK))
        }
        Err(e) => {
            report::help(&e)?;
            Ok(Err(Exit::Code(USAGE)))
        }
    }
}
