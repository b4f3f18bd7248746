//! Whether Apple's service is there and fit, and what it knows of an image.

use super::call::{Answer, Asked};
use crate::engine::apple::answers::{self, Image, Versions};
use crate::engine::apple::calls::{self, Call};
use crate::engine::apple::version;
use crate::error::{Failure, Result};
use std::time::{Duration, Instant};

/// How long a service that was started may take until it answers.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// What `system start` says when it wanted to ask whether it may fetch a kernel.
const WANTS_KERNEL: &str = "failed to read user input";

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The versions.
    pub versions: Versions,
    /// The image.
    pub image: Image,
    /// What a person should know.
    pub warning: Option<Failure>,
}

/// Asks everything at once, starts the service where it does not run, and judges the answers. `may_fetch` asks a person,
/// where there is one, whether Apple's kernel may be fetched.
///
/// # Errors
/// When the version is too old, the service does not start, or there is no image.
pub fn ready(asked: &Asked, image: &str, arch: &str, may_fetch: &dyn Fn() -> Result<bool>) -> Result<Ready> {
    let questions = [calls::version(), calls::status(), calls::image(image)];
    let [mut version, status, mut inspected] = all(asked, &questions);
    // Before anything else is tried: what is too old may not even know these words.
    judge(&version)?;
    if !status.and_then(|s| runs(&s))? {
        start(asked, may_fetch)?;
        version = asked.ask(&calls::version());
        inspected = asked.ask(&calls::image(image));
    }
    let (versions, warning) = judge(&version)?;
    let inspected = inspected?;
    match inspected.success {
        true => Ok(Ready { versions, warning, image: answers::image(&inspected.out, arch)? }),
        false if inspected.err.contains("not found") => Err(no_image(image)),
        false => Err(inspected.failure(format!("cannot look at the image {image}"))),
    }
}

/// The service runs when this returns, in a version that will do.
///
/// # Errors
/// When it does not start, or is too old.
pub fn running(asked: &Asked, may_fetch: &dyn Fn() -> Result<bool>) -> Result<()> {
    judge(&asked.ask(&calls::version()))?;
    match is_running(asked)? {
        true => Ok(()),
        false => start(asked, may_fetch),
    }
}

fn no_image(image: &str) -> Failure {
    Failure::new("there is no image to run").because(format!("container has no {image}")).next("vmclaude image build")
}

/// Three answers in the time of the slowest.
fn all(asked: &Asked, questions: &[Call; 3]) -> [Result<Answer>; 3] {
    std::thread::scope(|scope| {
        let threads = questions.each_ref().map(|question| scope.spawn(|| asked.ask(question)));
        threads.map(|t| t.join().unwrap_or_else(|_| Err(Failure::new("nobody asked container"))))
    })
}

/// The versions of client and service, which is `None` when it does not run.
///
/// # Errors
/// When the program cannot be asked.
pub fn versions(asked: &Asked) -> Result<Versions> {
    read_versions(&asked.ask(&calls::version())?)
}

/// Whether the service runs.
///
/// # Errors
/// When the program cannot be asked.
pub fn is_running(asked: &Asked) -> Result<bool> {
    runs(&asked.ask(&calls::status())?)
}

fn read_versions(answer: &Answer) -> Result<Versions> {
    match answer.success {
        true => answers::versions(&answer.out),
        false => Err(answer.failure("container does not say its version").next("container --version")),
    }
}

fn judge(answer: &Result<Answer>) -> Result<(Versions, Option<Failure>)> {
    let versions = read_versions(answer.as_ref().map_err(Clone::clone)?)?;
    let warning = version::judge(versions.client, versions.server)?;
    Ok((versions, warning))
}

/// The answer is on stdout also when the exit is 1, which says that the service does not run.
fn runs(answer: &Answer) -> Result<bool> {
    if !answer.success && answer.out.is_empty() {
        return Err(answer.failure("container does not say whether its service runs").next("container system status"));
    }
    answers::runs(&answer.out)
}

/// Starts the service; its kernel is fetched only after a person said so.
fn start(asked: &Asked, may_fetch: &dyn Fn() -> Result<bool>) -> Result<()> {
    let mut started = asked.ask(&calls::start())?;
    if !started.success && started.err.contains(WANTS_KERNEL) {
        if !may_fetch()? {
            return Err(Failure::new("Apple's container has no kernel yet")
                .because("it is fetched once, from Apple's recommended place")
                .next("container system start --enable-kernel-install"));
        }
        started = asked.ask(&calls::start_with_kernel())?;
    }
    let what = "Apple's container service does not start";
    if !started.success {
        return Err(started.failure(what).next("container system start"));
    }
    // What it says of itself is not always true.
    let end = Instant::now() + PATIENCE;
    loop {
        if is_running(asked).is_ok_and(|runs| runs) {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(Failure::new(what)
                .because(format!("it was started and does not run {} s later", PATIENCE.as_secs()))
                .next("container system status; container system logs"));
        }
        std::thread::sleep(PAUSE);
    }
}
