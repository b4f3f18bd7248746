//! The other words that `container` is told: short questions and orders, each with a time limit.
//!
//! Orders name one container by its name. `--all` is only ever a word of `list`, and `prune` is never said: both would act on
//! containers that are not ours.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Arguments.
    pub args: Vec<OsString>,
    /// How long it may take: every call of `container` can hang.
    pub limit: Duration,
}

/// How long a question may take. The program itself waits up to 10 s for its service.
pub(super) const QUESTION: Duration = Duration::from_secs(12);
/// How long it may take to make or remove something.
pub(super) const ORDER: Duration = Duration::from_secs(20);
/// How long a service may take to start, by its own account.
const START: u64 = 30;
/// How long a kernel may take to be fetched.
const FETCH: Duration = Duration::from_secs(600);
/// How long a build may take.
const BUILD: Duration = Duration::from_secs(3600);

pub(super) fn call(words: &[&str], limit: Duration) -> Call {
    Call { args: words.iter().map(OsString::from).collect(), limit }
}

/// Which versions client and service have.
pub fn version() -> Call {
    call(&["system", "version", "--format", "json"], QUESTION)
}

/// Whether the service runs.
pub fn status() -> Call {
    call(&["system", "status", "--format", "json"], QUESTION)
}

/// Starts the service. Where there is no kernel yet, it would ask for one, and fails because nobody answers.
pub fn start() -> Call {
    let timeout = START.to_string();
    call(&["system", "start", "--timeout", &timeout], Duration::from_secs(START + 5))
}

/// Starts the service and has it fetch the kernel that Apple recommends.
pub fn start_with_kernel() -> Call {
    let timeout = START.to_string();
    call(&["system", "start", "--enable-kernel-install", "--timeout", &timeout], FETCH)
}

/// What is known of an image.
pub fn image(reference: &str) -> Call {
    call(&["image", "inspect", "--", reference], QUESTION)
}

/// Removes an image of ours.
pub fn remove_image(reference: &str) -> Call {
    call(&["image", "delete", "--", reference], QUESTION)
}

/// Every container of this user's, to find ours by their labels.
pub fn list() -> Call {
    call(&["list", "--all", "--format", "json"], QUESTION)
}

/// Removes one container, whatever it does.
pub fn delete(name: &str) -> Call {
    call(&["delete", "--force", "--", name], ORDER)
}

/// What an image is built from, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build<'a> {
    /// The directory with the recipe and the supervisor's source.
    pub context: &'a Path,
    /// The processor that it is for.
    pub arch: &'a str,
    /// The image's name.
    pub reference: &'a str,
    /// Claude Code's package with its version, as npm names it.
    pub claude: &'a str,
    /// Other words here make the builder fetch it again, though its name is the same: for the latest, which is another tomorrow.
    pub anew: &'a str,
    /// Debian packages to add, separated by spaces.
    pub packages: &'a str,
    /// Labels of the image.
    pub labels: &'a BTreeMap<String, String>,
    /// Whether everything is built anew.
    pub fresh: bool,
}

/// Builds an image. The builder's own flags are always the same: any difference would throw its cache away.
pub fn build(build: &Build<'_>) -> Call {
    let claude = format!("CLAUDE={}", build.claude);
    let anew = format!("ANEW={}", build.anew);
    let packages = format!("PACKAGES={}", build.packages);
    let mut words = vec!["build", "--arch", build.arch, "--progress", "plain", "--cpus", "2", "--memory", "4096M"];
    words.extend(["--tag", build.reference, "--build-arg", &claude, "--build-arg", &anew, "--build-arg", &packages]);
    let labels: Vec<String> = build.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.iter().for_each(|label| words.extend(["--label", label]));
    if build.fresh {
        words.extend(["--no-cache", "--pull"]);
    }
    let mut call = call(&words, BUILD);
    call.args.extend(["--file".into(), build.context.join("image/Containerfile").into()]);
    call.args.extend(["--".into(), build.context.into()]);
    call
}

/// Names that are passed on to `container` where they are set: where it keeps its things.
const PASSED: [&str; 6] = ["HOME", "USER", "LOGNAME", "TMPDIR", "CONTAINER_APP_ROOT", "CONTAINER_INSTALL_ROOT"];

/// The environment of every call: the same each time, because the builder starts anew when it differs, and without what
/// would change the meaning of our words, such as `CONTAINER_DEFAULT_PLATFORM`, or secrets.
pub fn environment(host: &BTreeMap<OsString, OsString>) -> Vec<(OsString, OsString)> {
    let passed = PASSED.iter().filter_map(|name| Some((OsString::from(name), host.get(OsStr::new(name))?.clone())));
    passed.chain([("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())]).collect()
}
