//! One invocation, top to bottom.

use crate::cli::args::RunFlags;
use crate::engine::launch::{Launch, Warm};
use crate::engine::qemu::{self, Accel, Files, Life, Machine};
use crate::engine::share;
use crate::enrollment::{self, Project, trust};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::files;
use crate::host::Host;
use crate::image::store;
use crate::net::Denials;
use crate::plan::{Identity, Place, Plan};
use crate::profile;
use crate::report;
use crate::session::{self, denied, template, trial};
use crate::settings::{self, Settings};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where QEMU is looked for: never in PATH, which an enrolled tree could be part of.
const PROGRAM_DIRS: [&str; 4] = ["/usr/bin", "/usr/local/bin", "/bin", "/run/current-system/sw/bin"];

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
    let settings = settings::load(host)?;
    let project = enrollment::project_or_here(host)?;
    // Held to the end: while it is open, its inode cannot become another directory's.
    let root = enrollment::open_root(host, &project)?;
    let (settings, off) = trust::settings_for(host, settings, &project, &root)?;
    if let Some(line) = off.filter(|_| host.tty[2]) {
        report::note(&format!("{line} (vmclaude approve)"));
    }
    let plan = plan(host, &settings, flags, place(&project, &root)?, argv);
    let qemu = qemu(&settings)?;
    let image = image_files(host)?;
    let known = trial::known(host, &qemu).map(|c| c.accel);
    if flags.dry_run {
        // Without a trial boot the answer is the hope.
        let machine = machine(host, &settings, &qemu, &image, known.unwrap_or(Accel::Kvm));
        let launch = launch(host, &settings, &plan, &machine)?;
        report::data(&report::plan::text(&plan, &launch))?;
        return Ok(Exit::OK);
    }
    let accel = match known {
        Some(accel) => accel,
        None => try_kvm(host, &qemu, &image)?,
    };
    files::private_dir(&host.dirs.guest_home)?;
    let machine = machine(host, &settings, &qemu, &image, accel);
    let launch = launch(host, &settings, &plan, &machine)?;
    profile::mark("planned");
    let denials = denials(host, &project.root);
    let outcome = session::run(host, &plan, &launch, denials.clone());
    if outcome.is_ok() && launch.warm.is_some_and(|warm| template::is_wanted(&warm.template)) {
        // The next run will be glad of it; this one is over and does not care.
        if let Err(e) = template::make_aside(host, &machine, &plan.limits) {
            tracing::warn!("{e}");
        }
    }
    if host.tty[2] {
        // Only now: a program that fills the screen would have drawn over it, or been drawn over.
        report::denials(&denials.all());
    }
    if host.var("VMCLAUDE_PROFILE") == Some("1") {
        report::phases(&profile::phases());
    }
    outcome
}

/// What the guest is refused, kept for `vmclaude status` as it happens.
fn denials(host: &Host, project: &Path) -> Denials {
    let (dirs, project) = (host.dirs.clone(), project.to_path_buf());
    Denials::told(move |all| {
        let kept = all.last().map(|new| denied::keep(&dirs, &project, new));
        if let Some(Err(e)) = kept {
            tracing::warn!("{e}");
        }
    })
}

/// The project with the identity of what was opened, which the share checks again.
fn place(project: &Project, root: &File) -> Result<Place> {
    let meta = root.metadata().what(|| format!("cannot look at {}", project.root.display()))?;
    let identity = Some(Identity { dev: meta.dev(), ino: meta.ino() });
    Ok(Place { root: project.root.clone(), rest: project.rest.clone(), identity })
}

/// Has the template made of the machine that runs will use, aside, where it is known what that is.
///
/// # Errors
/// When there is no QEMU or no image, or the maker cannot be started.
pub fn make_template(host: &Host, settings: &Settings) -> Result<()> {
    let (qemu, image) = (qemu(settings)?, image_files(host)?);
    let Some(choice) = trial::known(host, &qemu).filter(|_| settings.warm_start) else { return Ok(()) };
    let machine = machine(host, settings, &qemu, &image, choice.accel);
    match template::is_wanted(&template::path(host, &machine, &settings.limits)?) {
        true => template::make_aside(host, &machine, &settings.limits),
        false => Ok(()),
    }
}

fn plan(host: &Host, settings: &Settings, flags: &RunFlags, place: Place, argv: Vec<OsString>) -> Plan {
    let network = settings.network.clone().with(flags.network, &flags.allow, &flags.allow_host);
    Plan::new(host, settings, &place, argv, network)
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
    let cores = host.cores.min(settings.most_cpus.unwrap_or(u32::MAX));
    Machine { qemu: qemu.to_path_buf(), accel, cores, files: image.clone() }
}

fn launch(host: &Host, settings: &Settings, plan: &Plan, machine: &Machine) -> Result<Launch> {
    let share = share::program(&host.exe, plan);
    let program = |life| qemu::program(machine, &plan.limits, life);
    let wanted = settings.warm_start && share.is_some();
    let warm = wanted.then(|| template::path(host, machine, &plan.limits)).transpose()?;
    Ok(Launch {
        machine: program(if share.is_some() { Life::Boot } else { Life::Trial }),
        warm: warm.map(|template| Warm { template, machine: program(Life::Copy) }),
        share,
    })
}

/// QEMU's program file.
///
/// # Errors
/// When it is not installed.
pub fn qemu(settings: &Settings) -> Result<PathBuf> {
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
