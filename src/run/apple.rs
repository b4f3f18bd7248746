//! What a run with Apple's `container` needs: the program in a version that will do, its service, an image.

pub use crate::engine::apple::Container;
use crate::engine::apple::version::SOUND;
use crate::engine::apple::{self, calls};
use crate::enrollment::programs;
use crate::error::{Failure, Result};
use crate::files;
use crate::host::Host;
use crate::image::apple::{ARCH, Known};
use crate::report;
use crate::session::apple::Asked;
use crate::session::apple::service;
use crate::settings::Settings;
use std::path::{Path, PathBuf};

/// Where `container` is looked for: where Apple's package and Homebrew put it. Never in PATH, which an enrolled tree could be
/// part of.
const PROGRAM_DIRS: [&str; 2] = ["/usr/local/bin", "/opt/homebrew/bin"];

/// The system of this host, running, with an image; for a dry run only what can be told without asking it.
///
/// # Errors
/// When there is no such program, it is too old, its service does not run and does not start, or there is no image.
pub(super) fn ready(host: &Host, settings: &Settings, dry_run: bool) -> Result<Container> {
    let asked = asked(host, settings)?;
    let known = Known::read(&host.dirs)?;
    let mut container = Container {
        program: asked.program.clone(),
        version: SOUND,
        image: known.reference.clone(),
        cores: settings.cores(host),
        wire: settings.wire,
        caught: true,
        env: asked.env.clone(),
        owner: apple::owner(&host.dirs.state),
    };
    if dry_run {
        return Ok(container);
    }
    let ready = service::ready(&asked, &known.reference, ARCH, &|| may_fetch(host))?;
    known.check(&ready.image)?;
    if let Some(warning) = &ready.warning {
        warn(host, warning);
    }
    container.version = ready.versions.client;
    Ok(container)
}

/// The program, and the environment in which it is asked.
///
/// # Errors
/// When it is not installed.
pub fn asked(host: &Host, settings: &Settings) -> Result<Asked> {
    let program = program(settings)?;
    programs::check(&program, host)?;
    Ok(Asked { program, env: calls::environment(&host.env) })
}

/// What is needed to find containers of ours, with whatever version.
///
/// # Errors
/// When the program is not installed.
pub fn for_sweep(host: &Host, settings: &Settings) -> Result<Container> {
    let Asked { program, env } = asked(host, settings)?;
    let owner = apple::owner(&host.dirs.state);
    let (image, cores, wire) = (String::new(), host.cores, settings.wire);
    Ok(Container { program, version: SOUND, image, cores, wire, caught: true, env, owner })
}

fn program(settings: &Settings) -> Result<PathBuf> {
    if let Some(path) = &settings.container {
        return match path.is_file() {
            true => Ok(path.clone()),
            false => Err(Failure::new(format!("there is no container at {}", path.display()))
                .because("config.toml says container = ..., and no file is there")
                .next("vmclaude status, or take that line out")),
        };
    }
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join("container")).find(|path| path.is_file()).ok_or_else(|| {
        Failure::new("there is no Apple container on this machine")
            .because(format!("container is in none of {}", PROGRAM_DIRS.join(", ")))
            .next("brew install container   # or Apple's signed package")
    })
}

/// Asks whether Apple's kernel may be fetched. Where nobody can be asked, it may not.
///
/// # Errors
/// When the terminal cannot be read.
pub fn may_fetch(host: &Host) -> Result<bool> {
    if !host.can_ask() {
        return Ok(false);
    }
    report::agreed("vmclaude: Apple's container has no Linux kernel yet. Let it fetch the recommended one?", true)
}

/// Tells a person, once for each thing that there is to tell.
fn warn(host: &Host, warning: &Failure) {
    let told = host.dirs.cache.join("container-warning");
    let text = warning.to_string();
    if !host.tty[2] || std::fs::read_to_string(&told).is_ok_and(|t| t == text) {
        return;
    }
    report::failure(warning);
    if let Err(e) =
        files::private_dir(&host.dirs.cache).and_then(|()| files::write_atomic(&told, text.as_bytes(), 0o600))
    {
        tracing::warn!("{e}");
    }
}
