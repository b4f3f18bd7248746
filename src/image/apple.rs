//! The guest's image on macOS: what `container build` made of `image/Containerfile`, and what is known of it.

use crate::engine::apple::answers;
use crate::engine::apple::calls::Build;
use crate::engine::apple::owner;
use crate::error::{Context, Failure, Result};
use crate::files;
use crate::host::{Dirs, Host, now};
use crate::plan::request::is_package;
use crate::session::apple::{Asked, build};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use vmclaude_init::wire::proto::VERSION;

/// The processor of an image, as it is named in one.
pub const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// The label that says which version of the wire the supervisor inside speaks.
pub const WIRE_LABEL: &str = "vmclaude.wire";
/// The label that says which version of Claude Code is inside, where that was known before the build.
pub const CLAUDE_LABEL: &str = "vmclaude.claude";
/// The word before the version in what the recipe says.
const SAID: &str = "vmclaude-claude=";
/// Whatever is the newest when the image is built.
const LATEST: &str = "latest";

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
    /// Claude Code's version: `latest` or three numbers. `None`: the one that the user has, else the one that was tested with this
    /// program.
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
    let old = Known::read(&host.dirs).ok();
    let claude = version(request.claude, old.as_ref().map(|known| known.claude.as_str()))?;
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
    let named = (claude != LATEST).then(|| (CLAUDE_LABEL.to_owned(), claude.to_owned()));
    let labels: BTreeMap<String, String> =
        named.into_iter().chain([(WIRE_LABEL.to_owned(), VERSION.to_string())]).collect();
    let anew = match claude {
        LATEST => files::random::<8>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => String::new(),
    };
    let order = Build {
        context: &context,
        arch: ARCH,
        reference: &reference,
        claude: &package,
        anew: &anew,
        packages: &packages,
        labels: &labels,
        fresh: request.fresh,
    };
    let build::Built { image, said } =
        build::build(asked, &order, &host.dirs.cache.join("image-build.log"), may_fetch)?;
    let claude = if claude == LATEST { installed(&said).unwrap_or(claude) } else { claude }.to_owned();
    let known = Known { digest: image.digest.clone(), reference, created: now(), claude, wire: VERSION };
    known.check(&image)?;
    let text = serde_json::to_vec_pretty(&known).what(|| "cannot write down what was built")?;
    files::write_atomic(&file(&host.dirs), &text, 0o600)?;
    Ok(known)
}

/// Removes the image, and what is known of it; `ids` are the names of what is meant, `None`: all that there is.
///
/// # Errors
/// When there is none, another is meant, or it is in use.
pub fn remove(host: &Host, asked: &Asked, ids: Option<&[String]>) -> Result<()> {
    let known = Known::read(&host.dirs)?;
    known.is_meant(ids)?;
    build::remove(asked, &known.reference)?;
    std::fs::remove_file(file(&host.dirs)).what(|| "cannot forget the image")
}

/// The version to build: what is wanted, else what the user has.
fn version<'a>(wanted: Option<&'a str>, has: Option<&'a str>) -> Result<&'a str> {
    let good = |version: &str| version == LATEST || is_number(version);
    let wanted = wanted.or(has.filter(|has| good(has))).unwrap_or(PINNED);
    match good(wanted) {
        true => Ok(wanted),
        false => Err(Failure::usage(format!("{wanted:?} is not a version of Claude Code"))
            .because("latest or three numbers are expected")
            .next(format!("vmclaude image build --claude {PINNED}"))),
    }
}

fn is_number(version: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    version.split('.').count() == 3 && version.split('.').all(number)
}

/// The version that the recipe says it installed, in all that the builder said, the recipe's own words among it.
fn installed(said: &str) -> Option<&str> {
    let after = said.split(SAID).skip(1);
    after.filter_map(|rest| rest.split_once('=')).map(|(version, _)| version).find(|version| is_number(version))
}

/// A list for a shell in the recipe: names and nothing else.
fn packages(names: &[String]) -> Result<String> {
    match names.iter().find(|name| !is_package(name)) {
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

    /// Whether it is this image that these names mean, and nothing else: there is no other.
    ///
    /// # Errors
    /// When another name is among them, or none.
    fn is_meant(&self, ids: Option<&[String]>) -> Result<()> {
        let Some(ids) = ids else { return Ok(()) };
        let only = format!("the only one is {}", self.reference);
        match ids.iter().find(|id| **id != self.reference) {
            None if !ids.is_empty() => Ok(()),
            None => Err(Failure::usage("no image is named").because(only).next("vmclaude image list")),
            Some(id) => {
                Err(Failure::usage(format!("there is no image {id}")).because(only).next("vmclaude image list"))
            }
        }
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
            assert!(version(good, None).is_ok(), "{good:?}");
        }
        for bad in ["", "2.1", "2.1.x", "latest; rm", "1.2.3.4", "../x"] {
            assert!(version(Some(bad), None).is_err(), "{bad}");
        }
        // Without a word, Claude stays at what the user has.
        let kept = |has| version(None, has).expect("a version");
        assert_eq!((kept(None), kept(Some("2.1.400")), kept(Some("x; rm"))), (PINNED, "2.1.400", PINNED));
        assert_eq!(version(Some("2.1.331"), Some("2.1.400")).expect("a version"), "2.1.331");
        let all = |names: &[&str]| packages(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(all(&["golang", "g++"]).expect("names"), "golang g++");
        for bad in ["", "-x", "a b", "$(x)", "A", "sudo-", "zlib1."] {
            assert!(all(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_installed_is_what_the_recipe_says_in_a_build_that_asks_anew() {
        let recipe = include_str!("../../image/Containerfile");
        let said = format!("#9 {}\n#9 3.1 npm notice\n#9 4.2 {SAID}2.1.400=\n", recipe.replace('\n', " "));
        assert_eq!(installed(&said), Some("2.1.400"));
        assert_eq!((installed(recipe), installed("")), (None, None));
        let at = |words: &str| recipe.find(words).expect("in the recipe");
        assert!(at("ARG CLAUDE=") < at("npm pack \"$CLAUDE\"") && at("ARG ANEW=") < at("npm pack \"$CLAUDE\""));
        assert!(recipe.contains(&format!("echo \"{SAID}")));
    }

    #[test]
    fn only_its_own_name_means_the_image() {
        let (reference, digest, claude) = ("vmclaude:1".to_owned(), "sha256:1".to_owned(), "2.1.330".to_owned());
        let known = Known { reference, digest, created: 0, claude, wire: VERSION };
        let meant = |ids: Option<&[&str]>| {
            let ids = ids.map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
            known.is_meant(ids.as_deref()).is_ok()
        };
        assert!(meant(None) && meant(Some(&["vmclaude:1"])));
        assert!(!meant(Some(&[])) && !meant(Some(&["0001"])) && !meant(Some(&["vmclaude:1", "0001"])));
    }
}
