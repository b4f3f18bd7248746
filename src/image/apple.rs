//! The guest's image on macOS: what `container build` made of `image/Containerfile`, and what is known of it.

use crate::engine::apple::answers;
use crate::engine::apple::calls::Build;
use crate::engine::apple::owner;
use crate::error::{Context, Failure, Result};
use crate::files;
use crate::host::{Dirs, Host, now};
use crate::session::apple::{Asked, build};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use vmclaude_init::wire::proto::VERSION;

/// The processor of an image, as it is named in one.
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The label that says which version of the wire the supervisor inside speaks.
pub const WIRE_LABEL: &str = "vmclaude.wire";
/// The label that says which version of Claude Code is inside.
pub const CLAUDE_LABEL: &str = "vmclaude.claude";

const BUILD: &str = "vmclaude image build";

/// What the last build made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub reference: String,
    /// The digest of its index.
    pub digest: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Claude Code's version.
    pub claude: String,
    /// The version of the wire that the supervisor inside speaks.
    pub wire: u16,
}

/// The version of Claude Code that was tested with this program.
const PINNED: &str = "2.1.330";

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Claude Code's version: `latest` or three numbers. `None`: the one that was tested with this program.
    pub claude: Option<&'a str>,
    /// Build everything anew.
    pub fresh: bool,
    /// Debian packages to add.
    pub packages: &'a [String],
}

/// Builds the image and makes it the one that runs use. A build that fails leaves the old one as it was.
///
/// # Errors
/// When the sources of the guest are not installed, and whatever the builder says.
pub fn make(host: &Host, asked: &Asked, request: Request<'_>, may_fetch: &dyn Fn() -> Result<bool>) -> Result<Known> {
    let claude = version(request.claude)?;
    let packages = packages(request.packages)?;
    let context = host.helper("source/image/Containerfile")?;
    let context = context.ancestors().nth(2).unwrap_or(&context).to_path_buf();
    files::private_dir(&host.dirs.images())?;
    files::private_dir(&host.dirs.cache)?;
    let _lock = files::lock(&host.dirs.images().join(".lock"))?;
    let kind = if ARCH == "arm64" { "arm64" } else { "x64" };
    let package = format!("@anthropic-ai/claude-code-linux-{kind}@{claude}");
    // One name for each home: another's build must not take its place.
    let reference = format!("vmclaude:{}", owner(&host.dirs.state));
    let labels = [(WIRE_LABEL, VERSION.to_string()), (CLAUDE_LABEL, claude.to_owned())];
    let order = Build {
        context: &context,
        arch: ARCH,
        reference: &reference,
        claude: &package,
        packages: &packages,
        labels: &labels.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<BTreeMap<_, _>>(),
        fresh: request.fresh,
    };
    let image = build::build(asked, &order, &host.dirs.cache.join("image-build.log"), may_fetch)?;
    let created = now();
    let known = Known { digest: image.digest.clone(), reference, created, claude: claude.to_owned(), wire: VERSION };
    known.check(&image)?;
    let text = serde_json::to_vec_pretty(&known).what(|| "cannot write down what was built")?;
    files::write_atomic(&file(&host.dirs), &text, 0o600)?;
    Ok(known)
}

/// Removes the image, and what is known of it.
///
/// # Errors
/// When there is none, or it is in use.
pub fn remove(host: &Host, asked: &Asked) -> Result<()> {
    let known = Known::read(&host.dirs)?;
    build::remove(asked, &known.reference)?;
    std::fs::remove_file(file(&host.dirs)).what(|| "cannot forget the image")
}

fn version(wanted: Option<&str>) -> Result<&str> {
    let wanted = wanted.unwrap_or(PINNED);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let numbers: Vec<&str> = wanted.split('.').collect();
    match wanted == "latest" || numbers.len() == 3 && numbers.into_iter().all(number) {
        true => Ok(wanted),
        false => Err(Failure::usage(format!("{wanted:?} is not a version of Claude Code"))
            .because("latest or three numbers are expected")
            .next(format!("vmclaude image build --claude {PINNED}"))),
    }
}

/// A list for a shell in the recipe: names and nothing else.
fn packages(names: &[String]) -> Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = |name: &&String| name.starts_with(plain) && name.chars().all(|c| plain(c) || "+-.".contains(c));
    match names.iter().find(|name| !good(name)) {
        None => Ok(names.join(" ")),
        Some(bad) => Err(Failure::usage(format!("{bad:?} in [image] packages is no Debian package's name"))
            .because("letters, digits and +-. are expected")
            .next("apt-cache search NAME   # on a Debian system")),
    }
}

/// Where that is kept.
pub fn file(dirs: &Dirs) -> PathBuf {
    dirs.images().join("apple.json")
}

impl Known {
    /// Reads what the last build wrote.
    ///
    /// # Errors
    /// When there was none.
    pub fn read(dirs: &Dirs) -> Result<Known> {
        let path = file(dirs);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::new("there is no image to run").next(BUILD));
            }
            Err(e) => return Err(Failure::new(format!("cannot read {}", path.display())).because(e).next(BUILD)),
        };
        serde_json::from_slice(&text)
            .what(|| format!("cannot understand {}", path.display()))
            .map_err(|e| e.next(BUILD))
    }

    /// The image that is there is the one that was built, and fits this program.
    ///
    /// # Errors
    /// When it is another one.
    pub fn check(&self, image: &answers::Image) -> Result<()> {
        if image.digest != self.digest {
            return Err(Failure::new(format!("the image {} is not the one that was built", self.reference))
                .because(format!("its digest is {}, and {} was built", image.digest, self.digest))
                .next(BUILD));
        }
        let wire = image.labels.get(WIRE_LABEL);
        match wire.and_then(|w| w.parse::<u16>().ok()) {
            Some(VERSION) => Ok(()),
            _ => Err(Failure::new("the image does not fit this vmclaude")
                .because(format!(
                    "its supervisor speaks version {} of the wire, this program version {VERSION}",
                    wire.map_or("no", String::as_str)
                ))
                .next(BUILD)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_and_names_reach_the_recipe() {
        for good in [None, Some("latest"), Some("2.1.330")] {
            assert!(version(good).is_ok(), "{good:?}");
        }
        for bad in ["", "2.1", "2.1.x", "latest; rm", "1.2.3.4", "../x"] {
            assert!(version(Some(bad)).is_err(), "{bad}");
        }
        let all = |names: &[&str]| packages(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(all(&["golang", "g++"]).expect("names"), "golang g++");
        for bad in ["", "-x", "a b", "$(x)", "A"] {
            assert!(all(&[bad]).is_err(), "{bad}");
        }
    }
}
