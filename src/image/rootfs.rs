//! The base system: mmdebstrap with the recipe, in a user namespace of the caller's or as root.
//!
//! The root lies in a directory of ours below /var/tmp: an ordinary user's home is often closed to the other user ids of
//! his namespace, and /tmp is often memory. What is needed of it comes out through mmdebstrap's own channel.

use super::recipe::{FILES, Recipe};
use super::tools::{Runner, die_with_us, tool};
use crate::error::{Context, Failure, Result};
use crate::host::Host;
use sha2::{Digest, Sha256};
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What the guest does without: nobody reads manuals in a VM that is gone with its command.
const DPKG: [&str; 6] = [
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];

/// How the host reaches its archives, as far as the guest's build needs the same.
const HOST_APT: [&str; 4] = ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::ForceIPv"];

/// Builds the base and leaves `base.erofs`, `kernel/*.deb` and `node/` in `out`.
///
/// # Errors
/// When user namespaces are forbidden, and whatever mmdebstrap says.
pub(super) fn build(host: &Host, run: &Runner<'_>, recipe: &Recipe, work: &Path, out: &Path) -> Result<()> {
    let stage = work.join("stage");
    stage_recipe(host, recipe, &stage)?;
    let sources = work.join("sources.list");
    let lines: String = recipe.sources.lines.iter().map(|l| format!("{l}\n")).collect();
    std::fs::write(&sources, lines).what(|| "cannot stage the recipe")?;
    std::fs::create_dir_all(out).what(|| "cannot stage the recipe")?;
    let scratch = scratch(host);
    DirBuilder::new().mode(0o711).create(&scratch).what(|| format!("cannot create {}", scratch.display()))?;
    let mut command = namespaced(host.uid)?;
    command.env("TMPDIR", &scratch).args(["mmdebstrap", "--mode=root", "--variant=minbase", "--format=null"]);
    command.arg(format!("--architectures={}", recipe.arch)).arg(format!("--include={}", recipe.packages.join(",")));
    command.arg("--aptopt=Acquire::Languages \"none\"");
    command.args(host_apt(run)?.iter().map(|line| format!("--aptopt={line}")));
    command.args(DPKG.iter().map(|line| format!("--dpkgopt={line}")));
    for hook in hooks(&stage, out, &recipe.sources.kernel) {
        command.arg(format!("--customize-hook={hook}"));
    }
    command.arg(&recipe.sources.suite).arg("/dev/null").arg(&sources);
    let built = run.run(&mut command, "build the base system", Duration::from_secs(3600));
    sweep(host);
    built
}

fn hooks(stage: &Path, out: &Path, kernel: &str) -> [String; 5] {
    // mmdebstrap splits its own commands like a shell.
    let (stage, out) = (crate::files::quoted(stage), crate::files::quoted(out));
    [
        "mkdir -m 700 \"$1/.vmclaude\"".to_owned(),
        format!("sync-in {stage} /.vmclaude"),
        "chroot \"$1\" sh /.vmclaude/setup.sh /.vmclaude".to_owned(),
        format!("sh \"$1/.vmclaude/pack.sh\" \"$1\" {kernel}"),
        format!("sync-out /.vmclaude/out {out}"),
    ]
}

/// A command in namespaces of its own, so that whatever ends it, no mount and no process is left. An ordinary user is root
/// in there and has as many users as `/etc/subuid` gives him; mmdebstrap's own mode for this outlives a killed caller.
fn namespaced(uid: u32) -> Result<Command> {
    let mut command = tool("unshare")?;
    // It ignores TERM, and takes everything inside with it.
    die_with_us(&mut command, nix::sys::signal::Signal::SIGKILL);
    if uid != 0 {
        command.args(["--user", "--map-root-user", "--map-auto"]);
    }
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    Ok(command)
}

/// The recipe, the host's certificates, and its configuration of pip, as `setup.sh` wants them.
fn stage_recipe(host: &Host, recipe: &Recipe, stage: &Path) -> Result<()> {
    let what = || "cannot stage the recipe";
    std::fs::create_dir_all(stage.join("ca")).what(what)?;
    for (name, text) in FILES {
        std::fs::write(stage.join(name), text).what(what)?;
    }
    for (digest, text) in &recipe.certificates {
        std::fs::write(stage.join(format!("ca/host-{}.crt", &digest[..16])), text).what(what)?;
    }
    let config = host.var("XDG_CONFIG_HOME").map_or_else(|| host.home.join(".config"), PathBuf::from);
    let wanted = [
        (config.join("pip/pip.conf"), "home/.config/pip/pip.conf"),
        (host.home.join(".pip/pip.conf"), "home/.pip/pip.conf"),
        (host.home.join(".netrc"), "home/.netrc"),
        (PathBuf::from("/etc/xdg/pip/pip.conf"), "xdg/pip/pip.conf"),
        (PathBuf::from("/etc/pip.conf"), "xdg/pip/pip.conf"),
    ];
    for (from, to) in wanted.iter().filter(|(from, _)| from.is_file()) {
        let to = stage.join(to);
        std::fs::create_dir_all(to.parent().unwrap_or(stage)).what(what)?;
        std::fs::copy(from, to).what(|| format!("cannot read {}", from.display()))?;
    }
    Ok(())
}

fn host_apt(run: &Runner<'_>) -> Result<Vec<String>> {
    let text = run.output(tool("apt-config")?.arg("dump"), "read apt's configuration", Duration::from_secs(30))?;
    Ok(text
        .lines()
        .filter(|l| HOST_APT.iter().any(|p| l.starts_with(p)) && !l.ends_with(" \"\";"))
        .map(str::to_owned)
        .collect())
}

/// One for each place with images: builds of the same place exclude each other, others go on.
fn scratch(host: &Host) -> PathBuf {
    let place = Sha256::digest(host.dirs.images().as_os_str().as_encoded_bytes());
    PathBuf::from(format!("/var/tmp/vmclaude-build-{}-{:.16}", host.uid, format!("{place:x}")))
}

/// Removes what a killed build left, once its last process is gone.
pub(super) fn sweep(host: &Host) {
    let dir = scratch(host);
    for _ in 0..100 {
        // Only a directory of ours: /var/tmp is everybody's.
        let ours = std::fs::symlink_metadata(&dir).is_ok_and(|m| m.is_dir() && m.uid() == host.uid);
        if !ours {
            return;
        }
        // Its files belong to the namespace's users.
        if let Ok(mut command) = namespaced(host.uid) {
            let _ = quiet(command.args(["rm", "-rf", "--one-file-system"]).arg(&dir)).status();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Tries namespaces as a build needs them, before the work begins.
///
/// # Errors
/// Says which of the usual reasons it is, and the command that mends it.
pub(super) fn check_namespaces(host: &Host) -> Result<()> {
    let output = namespaced(host.uid)?.arg("true").stdin(Stdio::null()).output().what(|| "cannot start unshare")?;
    if output.status.success() {
        return Ok(());
    }
    let failure = Failure::new("cannot build the image").because("the system does not let you make namespaces for it");
    let said = String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned();
    let sysctl =
        |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    let next = if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if sysctl("kernel/unprivileged_userns_clone") == "0" {
        "sudo sysctl kernel.unprivileged_userns_clone=1"
    } else if sysctl("user/max_user_namespaces") == "0" {
        "sudo sysctl user.max_user_namespaces=15000"
    } else if host.uid == 0 {
        // A container without the privilege: nothing to type in here.
        return Err(failure.because(said));
    } else {
        "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 \"$USER\""
    };
    Err(failure.because(said).next(next))
}
