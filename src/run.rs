//! One invocation, top to bottom.

pub mod apple;
mod engine;
pub mod qemu;

use crate::cli::args::RunFlags;
use crate::enrollment::{self, Project, trust};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::git::{self, Outside};
use crate::host::Host;
use crate::net::authorities;
use crate::plan::auth::{Api, Auth};
use crate::plan::mounts::GUEST_HOME;
use crate::plan::protect;
use crate::plan::{self, Identity, Local, Mount, Place, Plan, Setup, State};
use crate::profile;
use crate::report::{self, changes};
use crate::session::notes::Notes;
use crate::session::{self, denied};
use crate::settings::{self, Settings};
use crate::state;
use crate::tripwire::{self, Outcome, Trees, Watch, walk};
use engine::Engine;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What lets the guest's user become its root.
const SUDO: &[u8] = b"claude ALL=(ALL:ALL) NOPASSWD: ALL\n";

/// Runs Claude in a VM for the current directory.
///
/// # Errors
/// When the VM cannot be started or was lost.
pub fn claude(host: &Host, flags: &RunFlags, args: Vec<OsString>) -> Result<Exit> {
    command(host, flags, std::iter::once(OsString::from("claude")).chain(args).collect())
}

/// Runs a command in a VM for the current directory.
///
/// # Errors
/// When the directory must not be shown to a VM (78), or the VM cannot be started or was lost (125).
pub fn command(host: &Host, flags: &RunFlags, argv: Vec<OsString>) -> Result<Exit> {
    profile::mark("start");
    host.keep_own_rights();
    let settings = settings::load(host)?;
    let project = enrollment::project_or_here(host)?;
    // Held to the end: while it is open, its inode cannot become another directory's.
    let root = enrollment::open_root(host, &project)?;
    let settings = settings.of_project(&project.root, project.moved_from.as_deref());
    let (settings, off) = trust::settings_for(host, settings, &project, &root)?;
    if let Some(line) = off.filter(|_| host.tty[2]) {
        report::note(&format!("{line} (vmclaude approve)"));
    }
    let place = place(host, &settings, &project, &root)?;
    let outside = outside(host, &place);
    let mut plan = plan(host, &settings, flags, (&place, outside.as_ref()), argv)?;
    let engine = Engine::ready(host, &settings, flags.dry_run)?;
    let volume = if flags.dry_run { None } else { engine.volume(host, &mut plan)? };
    let launch = engine.launch(host, &settings, &plan)?;
    if flags.dry_run {
        report::text(&report::plan::text(&plan, &launch))?;
        return Ok(Exit::OK);
    }
    if let Some(home) = state::prepare(host, &place)?.filter(|_| host.tty[2]) {
        report::note(&format!("each project has a home of its own now; the old one of all is {}", home.display()));
    }
    if let Some(outside) = &outside {
        git::pin(&place.state.project, Some(outside))?;
    }
    profile::mark("planned");
    let (denials, kept) = denied::Keeper::start(host.dirs.clone(), project.root.clone());
    let notes = Notes::default();
    let (watch, ready) = watch(host, &plan, root, engine.only_checks())?;
    let given = session::Given { ready, volume, authorities: authorities(host) };
    let outcome = session::run(host, &plan, &launch, denials.clone(), &notes, given);
    kept.finish();
    let changed = watch.finish();
    profile::mark("the project was looked at again");
    if outcome.is_ok() {
        engine.after(host, &plan, &launch);
    }
    report::notes(&notes.all(), host.tty[2]);
    let outcome = tell_changes(host, changed, outcome);
    if host.tty[2] {
        // Only now: a program that fills the screen would have drawn over it, or been drawn over.
        report::denials(&denials.all());
        if session::denied_copies() > 0 {
            let file = crate::files::quoted(&host.dirs.config_file());
            report::note(&format!(
                "it wanted to copy to your clipboard; if it may, write clipboard = \"allow\" in {file}"
            ));
        }
    }
    if host.var("VMCLAUDE_PROFILE") == Some("1") {
        report::phases(&profile::phases());
    }
    outcome
}

/// What of the files that run unasked is another than before. Of a session that failed there is one message.
fn tell_changes(host: &Host, changed: Result<Outcome>, outcome: Result<Exit>) -> Result<Exit> {
    match changed {
        Err(unseen) if outcome.is_err() => {
            return outcome.map_err(|failure| {
                let failure = failure.because(format!("also, {}", unseen.what));
                unseen.because.iter().fold(failure, Failure::because)
            });
        }
        Err(unseen) => report::failure(&unseen),
        Ok(found) if host.tty[2] || !found.put_back.is_empty() || found.unchecked.is_some() => {
            changes::put_back(&found.put_back, found.unchecked.as_deref()).iter().for_each(|line| report::note(line));
            changes::after_run(&found.changes, found.skipped.as_deref()).iter().for_each(|line| report::note(line));
        }
        Ok(_) => {}
    }
    outcome
}

/// What of the project is on a disk of the guest's own.
fn local(host: &Host, settings: &Settings, place: &Place, plan: &Plan) -> Result<Option<Local>> {
    let project = plan.mounts.first().map_or("", |m| &m.tag);
    let key = place.state.project.file_name().unwrap_or_default();
    let file = match settings.engine {
        settings::Engine::Qemu => session::volume::path(&host.dirs.state, key),
        settings::Engine::Apple => session::volume::lock_path(&host.dirs.state, key),
    };
    settings.volumes.of_run(&plan.protected, project, file)
}

/// Looks at the files that run unasked, beside the boot; the receiver hears when the guest may write. Protected paths are put back
/// afterwards, where the engine `only_checks` them.
fn watch(host: &Host, plan: &Plan, root: File, only_checks: bool) -> Result<(Watch, session::Ready)> {
    let identity = vmclaude_shim::Identity::of_open(&root).what(|| "cannot look at the project")?;
    let path = plan.mounts.first().map(|m| m.host.clone()).unwrap_or_default();
    let home = plan.mounts.iter().find(|m| m.guest == Path::new(GUEST_HOME)).map(|m| m.host.clone());
    let home = home.and_then(|path| Some((walk::open(&path).ok()?, path)));
    let (protected, git) = if only_checks { checked(plan)? } else { (tripwire::Protected::default(), None) };
    Watch::start(&host.dirs.state, &identity.text(), Trees { project: (root, path), home, git, protected })
}

/// What of the plan's protected paths lies in the project and in the git directory outside of it, and that, opened.
fn checked(plan: &Plan) -> Result<(tripwire::Protected, Option<(File, PathBuf)>)> {
    let project = plan.mounts.first().map_or("", |m| &m.tag);
    let of = |tag: &str| plan.protected.iter().filter(|p| p.tag == tag).map(|p| p.path.as_path()).collect::<Vec<_>>();
    let git = match plan.mounts.iter().find(|m| m.tag == git::TAG) {
        None => None,
        Some(mount) => Some((open_mount(mount)?, mount.host.clone())),
    };
    Ok((tripwire::Protected::new(of(project), of(git::TAG)), git))
}

/// The directory of a mount, which must be the one that was judged.
fn open_mount(mount: &Mount) -> Result<File> {
    let what = || format!("cannot look at {}", mount.host.display());
    let file = walk::open(&mount.host).what(what)?;
    let meta = file.metadata().what(what)?;
    let found = Identity { dev: meta.dev(), ino: meta.ino() };
    match mount.identity.as_ref().is_none_or(|identity| *identity == found) {
        true => Ok(file),
        false => Err(Failure::new(what()).because("it is another directory than a moment ago")),
    }
}

/// The git directory outside of the project, if it is to be believed; a person is told why not.
fn outside(host: &Host, place: &Place) -> Option<Outside> {
    let found = git::outside(host, &place.root)
        .and_then(|found| found.map(|found| found.is_pinned(&place.state.project).map(|()| found)).transpose());
    found.unwrap_or_else(|why| {
        if host.tty[2] {
            report::note(&format!("git will not work in the VM: {} (vmclaude enroll)", why.escape_debug()));
        }
        None
    })
}

/// What this host trusts, read beside the boot.
fn authorities(host: &Host) -> session::Authorities {
    let env = host.env.clone();
    std::thread::spawn(move || authorities::trusted(|name| env.get(OsStr::new(name))?.to_str()))
}

/// The project with the identity of what was opened, which the share checks again.
fn place(host: &Host, settings: &Settings, project: &Project, root: &File) -> Result<Place> {
    let meta = root.metadata().what(|| format!("cannot look at {}", project.root.display()))?;
    let identity = Some(Identity { dev: meta.dev(), ino: meta.ino() });
    let state = State::of(&host.dirs.guest_home, &state::key(&project.root, root)?, settings.home);
    let git = of_git(host, &project.root);
    Ok(Place { root: project.root.clone(), rest: project.rest.clone(), identity, state, git })
}

/// What of Git's the project holds; a person is told when there may be more.
fn of_git(host: &Host, root: &Path) -> Vec<protect::Git> {
    git::held(host, root).unwrap_or_else(|some| {
        if host.tty[2] {
            report::note("not all that git may obey here was found, so some of it is not protected; [protect] paths in config.toml can name it");
        }
        some
    })
}

fn plan(
    host: &Host,
    settings: &Settings,
    flags: &RunFlags,
    (place, outside): (&Place, Option<&Outside>),
    argv: Vec<OsString>,
) -> Result<Plan> {
    let network = settings.network.clone().with(flags.network, &flags.allow, &flags.allow_host);
    let setup = setup(host, settings, place, &argv)?;
    network.check_doors(setup.api.is_some())?;
    let mut plan = Plan::new(host, settings, place, argv, network, setup);
    plan.local = local(host, settings, place, &plan)?;
    if let Some(outside) = outside {
        plan.links.extend(outside.link());
        let project = plan.mounts.first().map_or("", |m| &m.tag);
        plan.protected.extend(outside.protected(host, &settings.protect, &place.root, project));
        plan.mounts.push(outside.mount());
    }
    Ok(plan)
}

/// What the guest sets up before the command, and what of this host's it uses and never has.
fn setup(host: &Host, settings: &Settings, place: &Place, argv: &[OsString]) -> Result<Setup> {
    let mut system = vec![(git::SYSTEM_CONFIG.into(), git::system_config(&git::identity(host, &place.root)))];
    if settings.sudo {
        system.push(("/etc/sudoers.d/vmclaude".into(), SUDO.to_vec()));
    }
    let mut setup = plan::state::setup(system, state::approved_key(host, place).as_deref());
    setup.agent = settings.ssh_agent.then(|| host.var("SSH_AUTH_SOCK").map(Into::into)).flatten();
    if settings.auth == Auth::Guest {
        return Ok(setup);
    }
    setup.api = Api::of(|name| host.var(name))?;
    if setup.api.is_none() && argv.first().is_some_and(|program| program == "claude") {
        let why = "auth = \"host\" in config.toml, and neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set";
        let next = "export ANTHROPIC_API_KEY=..., or auth = \"guest\"";
        return Err(Failure::usage("there is no key to hold").because(why).next(next));
    }
    Ok(setup)
}
