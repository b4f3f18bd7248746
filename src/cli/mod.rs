//! One file per verb; this one sends each invocation to its verb.

mod approve;
pub mod args;
mod completions;
mod enroll;
mod guard;
mod hook;
mod host;
mod image;
mod list;
mod man;
mod prune;
mod review;
mod route;
mod session;
mod status;
mod unenroll;

use crate::error::Result;
use crate::exit::{Exit, USAGE};
use crate::host::{Host, Name};
use crate::session::{keeper, template};
use crate::{report, settings};
use args::{Container, Verb, Vmclaude};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

/// The share server or the terminal's keeper, when this process was started as one: without an environment, and so perhaps
/// without a home.
pub fn without_facts() -> Option<Result<Exit>> {
    if crate::host::first_word().is_some_and(|word| word == keeper::VERB) {
        return Some(Ok(keeper::keep()));
    }
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
        Name::Vmclaude if host.args.first().is_some_and(|word| word == template::VERB) => {
            template::make(host).map(|()| Exit::OK)
        }
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
        Verb::Guard(words) => guard::run(host, &words),
        Verb::Status(output) => status::run(host, &output),
        Verb::Session(words) => self::session::run(host, &words.verb),
        Verb::Prune(words) => prune::run_anyway(host, &words),
        Verb::Review(words) => review::run(host, &words),
        Verb::Approve(words) => approve::run(host, &words),
        Verb::Host(words) => self::host::run(host, &words),
        Verb::Image(words) => image::run(host, &words.verb, &settings_of_image(host)?),
    }
}

/// The settings with the packages that were approved for a project: the image is one for all.
fn settings_of_image(host: &Host) -> Result<settings::Settings> {
    let mut settings = settings::load(host)?;
    settings.packages.extend(crate::enrollment::trust::packages(host));
    Ok(settings)
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
