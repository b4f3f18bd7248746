//! What a run with QEMU needs: its program, an accelerator that works, an image, perhaps a template.

use crate::engine::launch::{Qemu, Warm};
pub use crate::engine::qemu::Machine;
use crate::engine::qemu::{self, Accel, Files, Flavor, Life};
use crate::engine::share;
use crate::enrollment::programs;
use crate::error::{Failure, Result};
use crate::host::Host;
use crate::image::{self, store};
use crate::plan::Plan;
use crate::report;
use crate::session::{template, trial};
use crate::settings::Settings;
use std::path::{Path, PathBuf};

/// Where QEMU is looked for: never in PATH, which an enrolled tree could be part of.
const PROGRAM_DIRS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin"];

/// The machine of this host; whether KVM works is found out by trying, unless this is a dry run.
///
/// # Errors
/// When there is no QEMU or no image, files may not be as large as a machine's, or the trial cannot be made.
pub(super) fn ready(host: &Host, settings: &Settings, dry_run: bool) -> Result<Machine> {
    let (qemu, image) = (program(host, settings)?, image_files(host)?);
    image::allow_large_files()?;
    let accel = match trial::known(host, &qemu) {
        Some(choice) => choice.accel,
        // Without a trial boot the answer is the hope.
        None if dry_run => Accel::Kvm,
        None => try_kvm(host, &qemu, &image)?,
    };
    Ok(machine(host, settings, &qemu, &image, accel))
}

/// The processes for `plan`.
///
/// # Errors
/// When a file of the machine is missing.
pub(super) fn launch(host: &Host, settings: &Settings, plan: &Plan, machine: &Machine) -> Result<Qemu> {
    let share = share::program(&host.exe, plan);
    let program = |life| qemu::program(machine, &plan.limits, life, plan.volume());
    let wanted = settings.warm_start && share.is_some();
    let warm = wanted.then(|| template::find(host, machine, &plan.limits, flavor(plan))).transpose()?;
    Ok(Qemu {
        machine: program(if share.is_some() { Life::Boot } else { Life::Trial }),
        warm: warm.map(|(template, best)| Box::new(Warm { template, best, machine: program(Life::Copy) })),
        share,
    })
}

/// Has the template made, where one is wanted.
pub(super) fn after(host: &Host, plan: &Plan, machine: &Machine, launch: &Qemu) {
    if launch.warm.as_ref().is_some_and(|warm| template::is_wanted(&warm.best))
        && let Err(e) = template::make_aside(host, machine, &plan.limits, flavor(plan))
    {
        tracing::warn!("{e}");
    }
}

/// What the template for this plan's command has in its memory.
fn flavor(plan: &Plan) -> Flavor {
    match plan.argv.first().is_some_and(|program| program == "claude") {
        true => Flavor::Claude,
        false => Flavor::Plain,
    }
}

/// Has the template made of the machine that runs will use, aside, where it is known what that is.
///
/// # Errors
/// When there is no QEMU or no image, or the maker cannot be started.
pub fn make_template(host: &Host, settings: &Settings) -> Result<()> {
    let (qemu, image) = (program(host, settings)?, image_files(host)?);
    let Some(choice) = trial::known(host, &qemu).filter(|_| settings.warm_start) else { return Ok(()) };
    let machine = machine(host, settings, &qemu, &image, choice.accel);
    match template::is_wanted(&template::path(host, &machine, &settings.limits, Flavor::Claude)?) {
        true => template::make_aside(host, &machine, &settings.limits, Flavor::Claude),
        false => Ok(()),
    }
}

/// The first run after a boot of the host finds out whether KVM works, and says so to a person who waits for it.
fn try_kvm(host: &Host, qemu: &Path, image: &Files) -> Result<Accel> {
    let choice = trial::accelerator(host, qemu, image)?;
    if choice.accel == Accel::Tcg && host.tty[2] {
        report::note(&format!("{}, so the VM is emulated and slow (vmclaude status)", choice.why));
    }
    Ok(choice.accel)
}

fn machine(host: &Host, settings: &Settings, qemu: &Path, image: &Files, accel: Accel) -> Machine {
    Machine { qemu: qemu.to_path_buf(), accel, cores: settings.cores(host), files: image.clone() }
}

/// QEMU's program file.
///
/// # Errors
/// When it is not installed.
pub fn program(host: &Host, settings: &Settings) -> Result<PathBuf> {
    let file = find(settings)?;
    programs::check(&file, host)?;
    Ok(file)
}

fn find(settings: &Settings) -> Result<PathBuf> {
    if let Some(path) = &settings.qemu {
        // What somebody wrote down is meant: another one in its place would hide the mistake.
        return match path.is_file() {
            true => Ok(path.clone()),
            false => Err(Failure::new(format!("there is no QEMU at {}", path.display()))
                .because("config.toml says qemu = ..., and no file is there")
                .next("vmclaude status, or take that line out")),
        };
    }
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(&name)).find(|path| path.is_file()).ok_or_else(|| {
        Failure::new("there is no QEMU on this machine")
            .because(format!("{name} is in none of {}", PROGRAM_DIRS.join(", ")))
            .next("sudo apt-get install --no-install-recommends qemu-system-x86")
    })
}

/// The current image's files.
fn image_files(host: &Host) -> Result<Files> {
    let image = store::current(&host.dirs)?;
    Ok(Files {
        kernel: image.kernel(),
        initrd: image.initrd(),
        base: image.base(),
        claude: image.claude(),
        scratch: image.scratch(),
    })
}
