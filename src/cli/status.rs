//! `vmclaude status`: what `claude` would do here, why, with what, and what is wrong.

mod projects;
mod shell;
mod volumes;

use crate::cli::args::{Output, Status as StatusArgs};
use crate::engine::apple::version;
use crate::engine::qemu::Accel;
use crate::enrollment::{self, shown, trust, verdict};
use crate::error::{Failure, Result};
use crate::exit::Exit;
use crate::host::{Host, now};
use crate::image::apple::Known;
use crate::plan::Limits;
use crate::plan::mounts::WORKSPACE;
use crate::plan::state::Home;
use crate::report;
use crate::report::status::{self, Claude, Engine, Image, Network, Problem, Runs, Status, Tree};
use crate::session::apple::service;
use crate::session::{ask, denied, record, trial};
use crate::settings::{self, Settings};
use crate::state;
use crate::tripwire::store::Store;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;
use vmclaude_shim::find::{Search, find_host_claude};
use vmclaude_shim::{Identity, Registry, Verdict};

/// How often somebody who watches sees something new.
const LOOK: Duration = Duration::from_secs(1);

/// Prints the answer. Whatever is wrong is part of it, and no failure of this verb.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn run(host: &Host, words: &StatusArgs) -> Result<Exit> {
    let status = collect(host, now(), None);
    if words.watch {
        return watch(host, &words.output, status);
    }
    match words.output.json {
        true => report::json(&status)?,
        false => report::text(&status::text(&status, now()))?,
    }
    Ok(Exit::OK)
}

/// Shows the answer anew whenever it is another, until nobody reads it or a key ends it.
fn watch(host: &Host, output: &Output, mut status: Status) -> Result<Exit> {
    let mut shown = None;
    loop {
        let text = match output.json {
            true => report::json_line(&status)?,
            false => status::text(&status, now()),
        };
        if shown.as_ref() != Some(&text) && !report::anew(&text, host.tty[1] && !output.json)? {
            return Ok(Exit::OK);
        }
        shown = Some(text);
        std::thread::sleep(LOOK);
        // What QEMU is and what shells make of their start files does not change while somebody watches.
        status = collect(host, now(), Some(&status));
    }
}

/// `known`: the last answer, of which is kept what takes long to find out.
fn collect(host: &Host, now: u64, known: Option<&Status>) -> Status {
    let mut problems = Vec::new();
    let settings = match settings::load(host) {
        Ok(settings) => Some(settings),
        Err(failure) => {
            problems.push(problem(failure));
            None
        }
    };
    problems.extend(settings.iter().flat_map(|settings| projects::unknown(host, settings)));
    let settings = settings.map(|settings| of_project(host, settings, &mut problems));
    let meant = shell::meant(host);
    problems.extend(meant.as_ref().map(|meant| shell::elsewhere(host, meant)));
    let claude = claude(meant.as_ref().unwrap_or(host), &mut problems);
    let version = known.and_then(|known| known.engine.version.clone());
    let (engine, accel) = engine(host, settings.as_ref(), version, &mut problems);
    review(host, &mut problems);
    let image = match settings.as_ref().map(|s| s.engine) {
        Some(settings::Engine::Apple) => apple_image(host, now, &mut problems),
        _ => image(host, now, (settings.as_ref(), claude.host.as_deref()), &mut problems),
    };
    let runs = host.dirs.runs();
    let (alive, dead) = record::survey(&runs);
    let sessions = alive.into_iter().map(|facts| record::see(&runs, facts)).collect();
    if !dead.is_empty() {
        let what = format!("{} crashed sessions left something behind", dead.len());
        problems.push(Problem { what, because: Vec::new(), next: Some("vmclaude prune".into()) });
    }
    let limits = settings.as_ref().map_or_else(|| Limits::default_for(host.memory), |s| s.limits);
    let cores = settings.as_ref().map_or(host.cores, |s| s.cores(host));
    let reach = settings.as_ref().map_or_else(String::new, |s| s.network.to_string());
    let allow_hosts = settings.iter().flat_map(|s| &s.network.allow_hosts).map(ToString::to_string).collect();
    let shell = shell::look(host, (claude.runs, meant.is_some()), known.map(|known| &known.shell), &mut problems);
    Status {
        version: 1,
        directory: host.cwd.clone(),
        claude,
        engine,
        image,
        limits: status::Limits { cpus: limits.cpus_for(accel == Some(Accel::Tcg), cores), memory_mib: limits.memory },
        network: Network { reach, allow_hosts, refused: denied::last(&host.dirs) },
        volumes: volumes::look(host, settings.as_ref()),
        sessions,
        shell,
        problems,
    }
}

/// The settings as they are for the enrolled project here.
fn of_project(host: &Host, settings: Settings, problems: &mut Vec<Problem>) -> Settings {
    let Ok(Some(project)) = enrollment::project(host) else { return settings };
    let own = settings.clone().of_project(&project.root, project.moved_from.as_deref());
    let asked = enrollment::open_root(host, &project).and_then(|root| trust::settings_for(host, own, &project, &root));
    match asked {
        Ok((settings, off)) => {
            let off = off.map(|what| Problem { what, because: Vec::new(), next: Some("vmclaude approve".into()) });
            problems.extend(off);
            settings
        }
        Err(failure) => {
            problems.push(problem(failure));
            settings
        }
    }
}

/// Files that run unasked and that sessions changed here.
fn review(host: &Host, problems: &mut Vec<Problem>) {
    // Sessions of a directory that is not enrolled are looked at as well.
    let Ok(project) = enrollment::project_or_here(host) else { return };
    let identity = enrollment::open_root(host, &project).ok().and_then(|root| Identity::of_open(&root).ok());
    let waiting = identity.and_then(|identity| Store::look(&host.dirs.state, &identity.text()));
    if let Some(n) = waiting.map(|waiting| waiting.changes.len()).filter(|n| *n > 0) {
        let files =
            if n == 1 { "a file that runs unasked was".to_owned() } else { format!("{n} files that run unasked were") };
        let what = format!("{files} changed in a VM, and nobody has looked");
        problems.push(Problem { what, because: Vec::new(), next: Some("vmclaude review".into()) });
    }
}

fn problem(failure: Failure) -> Problem {
    Problem { what: failure.what, because: failure.because, next: failure.next }
}

fn claude(host: &Host, problems: &mut Vec<Problem>) -> Claude {
    let registry = Registry::read(&host.dirs.state).ok().flatten();
    let var = |name: &str| host.env.get(std::ffi::OsStr::new(name)).map(OsString::as_os_str);
    let search = Search { path: var("PATH"), home: var("HOME"), state: &host.dirs.state, registry: registry.as_ref() };
    let host_claude = find_host_claude(&search, &[]).map(|(file, _)| file);
    let mut claude = Claude { runs: Runs::Refuses, why: String::new(), tree: None, host: host_claude };
    match verdict(host) {
        Ok(Verdict::Host { below }) => {
            claude.runs = Runs::Host;
            claude.why = match below {
                Some(tree) => {
                    format!("it is not enrolled, but {} below it is, and claude could reach it", shown(&tree))
                }
                None => "it is not enrolled (vmclaude enroll)".to_owned(),
            };
        }
        Ok(Verdict::Vm(tree)) => {
            claude.runs = Runs::Vm;
            claude.why = match &tree.moved_from {
                Some(old) => format!("it is the directory that was enrolled as {}", shown(old)),
                None => format!("{} is enrolled", shown(&tree.root)),
            };
            // Joining nothing would leave a slash at the end.
            let guest = Path::new(WORKSPACE).components().chain(tree.rest.components()).collect();
            let keeps = state::of(host, &tree.root, Home::default()).ok().map(|state| state.project);
            claude.tree = Some(Tree { guest, keeps, root: tree.root, moved_from: tree.moved_from });
        }
        Ok(Verdict::Refuse(refusal)) => {
            let words = refusal.words();
            claude.why.clone_from(&words.because);
            problems.push(Problem { what: words.what, because: vec![words.because], next: Some(words.next) });
        }
        Err(failure) => {
            claude.why = failure.because.first().cloned().unwrap_or_default();
            problems.push(problem(failure));
        }
    }
    claude
}

fn engine(
    host: &Host,
    settings: Option<&Settings>,
    version: Option<String>,
    problems: &mut Vec<Problem>,
) -> (Engine, Option<Accel>) {
    let mut engine = Engine { program: None, version: None, acceleration: "unknown", why: String::new() };
    if let Some(settings) = settings.filter(|s| s.engine == settings::Engine::Apple) {
        if let Err(failure) = apple(host, settings, &mut engine, problems) {
            engine.why.clone_from(&failure.what);
            problems.push(problem(failure));
        }
        return (engine, None);
    }
    let qemu = match settings.map(|settings| crate::run::qemu::program(host, settings)) {
        Some(Ok(qemu)) => qemu,
        Some(Err(failure)) => {
            engine.why.clone_from(&failure.what);
            problems.push(problem(failure));
            return (engine, None);
        }
        None => {
            engine.why = "the settings cannot be read".to_owned();
            return (engine, None);
        }
    };
    engine.version = version.or_else(|| ask::first_line(&qemu, "--version"));
    let choice = trial::known(host, &qemu);
    engine.program = Some(qemu);
    let Some(choice) = choice else {
        engine.why = "/dev/kvm can be opened; the first run finds out whether it works".to_owned();
        return (engine, None);
    };
    engine.acceleration = if choice.accel == Accel::Kvm { "kvm" } else { "tcg" };
    engine.why.clone_from(&choice.why);
    if choice.next.is_some() {
        let what = "the VM is emulated and slow".to_owned();
        problems.push(Problem { what, because: vec![choice.why], next: choice.next });
    }
    (engine, Some(choice.accel))
}

/// Apple's `container`: its version, and whether its service runs. Nothing is started.
fn apple(host: &Host, settings: &Settings, engine: &mut Engine, problems: &mut Vec<Problem>) -> Result<()> {
    let asked = crate::run::apple::asked(host, settings)?;
    engine.program = Some(asked.program.clone());
    let versions = service::versions(&asked)?;
    engine.version = Some(format!("container {}", versions.client));
    if let Some(warning) = version::judge(versions.client, versions.server)? {
        problems.push(problem(warning));
    }
    engine.acceleration = "hardware";
    engine.why = match service::is_running(&asked)? {
        true => "Apple's service runs".to_owned(),
        false => "Apple's service does not run; the first run starts it".to_owned(),
    };
    Ok(())
}

fn apple_image(host: &Host, now: u64, problems: &mut Vec<Problem>) -> Option<Image> {
    match Known::read(&host.dirs) {
        Ok(known) => {
            let (age, kernel) = (now.saturating_sub(known.created), "Apple's".to_owned());
            Some(Image { id: known.reference, created: known.created, age, claude: known.claude, kernel })
        }
        Err(failure) => {
            problems.push(problem(failure));
            None
        }
    }
}

fn image(
    host: &Host,
    now: u64,
    (settings, claude): (Option<&Settings>, Option<&Path>),
    problems: &mut Vec<Problem>,
) -> Option<Image> {
    match crate::image::store::current(&host.dirs) {
        Ok(image) => {
            let m = image.manifest;
            let wanted = settings.map_or(&[][..], |settings| &settings.packages);
            if let Some(lacking) = crate::image::age::lacking(wanted, m.packages.as_deref()) {
                let because = vec!["it was built before the settings asked for that".to_owned()];
                let what = format!("not in the image: {lacking}");
                problems.push(Problem { what, because, next: Some("vmclaude image build".into()) });
            }
            let age = now.saturating_sub(m.created);
            if let Some(why) = crate::image::age::outdated(&m.claude, age, claude) {
                let what = "Claude Code in the image is an old one".to_owned();
                let next = Some("vmclaude image build --claude latest".to_owned());
                problems.push(Problem { what, because: vec![why], next });
            }
            Some(Image { id: m.id, created: m.created, age, claude: m.claude, kernel: m.kernel })
        }
        Err(failure) => {
            problems.push(problem(failure));
            None
        }
    }
}
