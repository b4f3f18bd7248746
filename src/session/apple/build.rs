//! `container build`, from the service to an image whose digest is known.

use super::call::Asked;
use super::service;
use crate::engine::apple::answers::{self, Image};
use crate::engine::apple::calls::{self, Build};
use crate::error::{Context, Result};
use crate::files;
use std::path::Path;

/// What a build made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Everything that the builder said.
    pub said: String,
}

/// Builds the image and looks at it. What the builder said is in `log`.
///
/// # Errors
/// When the service does not start, the build fails, or there is no image afterwards.
pub fn build(asked: &Asked, build: &Build<'_>, log: &Path, may_fetch: &dyn Fn() -> Result<bool>) -> Result<Built> {
    service::running(asked, may_fetch)?;
    let built = asked.ask(&calls::build(build))?;
    if let Err(e) = files::write_atomic(log, built.err.as_bytes(), 0o600) {
        tracing::warn!("{e}");
    }
    if !built.success {
        let last: Vec<&str> = built.err.lines().rev().filter(|l| !l.trim().is_empty()).take(6).collect();
        let failure = crate::error::Failure::new("cannot build the image");
        let failure = last.iter().rev().fold(failure, |f, line| f.because(line.escape_debug()));
        return Err(failure.next(format!("less {}", files::quoted(log))));
    }
    let found = asked.ask(&calls::image(build.reference))?;
    match found.success {
        true => {
            let said = format!("{}\n{}", built.err, String::from_utf8_lossy(&built.out));
            Ok(Built { image: answers::image(&found.out, build.arch)?, said })
        }
        false => Err(found.failure("the image was built and is not there").next("container image list")),
    }
}

/// Removes an image of ours.
///
/// # Errors
/// When it is in use, or is not there.
pub fn remove(asked: &Asked, reference: &str) -> Result<()> {
    let answer = asked.ask(&calls::remove_image(reference)).what(|| "cannot remove the image")?;
    match answer.success {
        true => Ok(()),
        false => Err(answer.failure("cannot remove the image").next("container image list")),
    }
}
