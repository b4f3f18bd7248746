//! What `container` answers, in the shapes of 1.0 to 1.2, and of 1.4 where that differs. Fields that are not known are
//! ignored; one that is missing is an error that names it.

use super::version::Version;
use super::{RUN_LABEL, STATE_LABEL};
use crate::error::{Failure, Result};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Both versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The program's.
    pub client: Version,
    /// The service's, when it runs.
    pub server: Option<Version>,
}

/// Reads the answer to [`super::calls::version`].
///
/// # Errors
/// When it is not one.
pub fn versions(text: &[u8]) -> Result<Versions> {
    #[derive(Deserialize)]
    struct One {
        version: String,
    }
    let all: Vec<One> = read("system version", text)?;
    let find = |one: &One| {
        Version::find(&one.version).ok_or_else(|| strange("system version", format!("no version in {:?}", one.version)))
    };
    // The client comes first; the service's is not there when it does not run.
    let client = all.first().ok_or_else(|| strange("system version", "an empty list"))?;
    Ok(Versions { client: find(client)?, server: all.get(1).map(find).transpose()? })
}

/// Reads the answer to [`super::calls::status`]: whether the service runs. (1.4 puts the rest below other names.)
///
/// # Errors
/// When it is not one.
pub fn runs(text: &[u8]) -> Result<bool> {
    #[derive(Deserialize)]
    struct Status {
        status: String,
    }
    read::<Status>("system status", text).map(|s| s.status == "running")
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its index.
    pub digest: String,
    /// The labels of its Linux variant for this kind of processor.
    pub labels: BTreeMap<String, String>,
}

/// Reads the answer to [`super::calls::image`] for the processor `arch`.
///
/// # Errors
/// When it is not one, or there is no such variant.
pub fn image(text: &[u8], arch: &str) -> Result<Image> {
    #[derive(Deserialize)]
    struct One {
        configuration: Configuration,
        variants: Vec<Variant>,
    }
    #[derive(Deserialize)]
    struct Configuration {
        descriptor: Descriptor,
    }
    #[derive(Deserialize)]
    struct Descriptor {
        digest: String,
    }
    #[derive(Deserialize)]
    struct Variant {
        platform: Platform,
        config: Config,
    }
    #[derive(Deserialize)]
    struct Platform {
        architecture: String,
        os: String,
    }
    #[derive(Deserialize)]
    struct Config {
        config: Option<Inner>,
    }
    #[derive(Deserialize)]
    struct Inner {
        #[serde(rename = "Labels")]
        labels: Option<BTreeMap<String, String>>,
    }
    let all: Vec<One> = read("image inspect", text)?;
    let one = all.into_iter().next().ok_or_else(|| strange("image inspect", "an empty list"))?;
    let fits = |v: &Variant| (v.platform.architecture.as_str(), v.platform.os.as_str()) == (arch, "linux");
    let variant = one.variants.into_iter().find(fits);
    let variant = variant.ok_or_else(|| strange("image inspect", format!("no variant for linux/{arch}")))?;
    let labels = variant.config.config.and_then(|c| c.labels).unwrap_or_default();
    Ok(Image { digest: one.configuration.descriptor.digest, labels })
}

/// A container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Its name.
    pub name: String,
    /// The session that it belongs to.
    pub run: String,
    /// `running`, `stopping`, `stopped` or `unknown`.
    pub state: String,
}

/// Reads the answer to [`super::calls::list`]: those that carry our labels with this `owner`, and no others.
///
/// # Errors
/// When it is not one.
pub fn ours(text: &[u8], owner: &str) -> Result<Vec<Ours>> {
    #[derive(Deserialize)]
    struct One {
        id: String,
        configuration: Configuration,
        status: Status,
    }
    #[derive(Deserialize)]
    struct Configuration {
        labels: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Status {
        state: String,
    }
    let all: Vec<One> = read("list", text)?;
    let ours = all.into_iter().filter_map(|one| {
        let label = |name: &str| one.configuration.labels.get(name);
        let run = label(RUN_LABEL).filter(|_| label(STATE_LABEL).is_some_and(|o| o == owner))?;
        // The name follows from the session; one that does not is somebody's who copied our labels.
        (one.id == super::name(run)).then(|| Ours {
            run: run.clone(),
            name: one.id.clone(),
            state: one.status.state.clone(),
        })
    });
    Ok(ours.collect())
}

pub(super) fn read<T: DeserializeOwned>(what: &str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|e| strange(what, e))
}

fn strange(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot understand what container {what} says"))
        .because(why)
        .next("container --version   # versions 1.0 to 1.4 are known")
}
