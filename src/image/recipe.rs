//! What a base system is made of, and the key under which it is found again.

use super::sources;
use crate::error::{Failure, Result};
use crate::net::authorities;
use crate::plan::request::is_package;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Raised when this program builds something else out of the same recipe files.
const VERSION: &str = "3";

/// The files of the recipe, as they lie in `image/`.
pub(super) const FILES: [(&str, &str); 4] = [
    ("packages", include_str!("../../image/packages")),
    ("setup.sh", include_str!("../../image/setup.sh")),
    ("pack.sh", include_str!("../../image/pack.sh")),
    ("node.txt", include_str!("../../image/node.txt")),
];

/// Everything that decides what a base system contains.
pub(super) struct Recipe {
    /// Debian's name of the processor.
    pub(super) arch: &'static str,
    /// Package names, sorted.
    pub(super) packages: Vec<String>,
    /// Where they come from.
    pub(super) sources: sources::Sources,
    /// What the host trusts beyond them.
    pub(super) certificates: authorities::Certificates,
}

impl Recipe {
    /// This host's recipe, with `extra` packages.
    ///
    /// # Errors
    /// When a package's name is none, and those of [`sources::read`].
    pub(super) fn read(extra: &[String]) -> Result<Recipe> {
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let ours = FILES[0].1.lines().filter_map(|l| Some(l.split('#').next()?.trim().to_owned()));
        let mut packages: Vec<String> = ours.filter(|p| !p.is_empty()).chain(extra.iter().cloned()).collect();
        packages.sort();
        packages.dedup();
        if let Some(bad) = packages.iter().find(|p| !is_package(p)) {
            return Err(Failure::usage(format!("\"{bad}\" in [image] packages is no Debian package's name"))
                .next(format!("apt-cache search {}", crate::files::quoted(Path::new(bad)))));
        }
        let root = Path::new("/");
        let sources = sources::read(&root.join("etc"), arch)?;
        Ok(Recipe { arch, packages, sources, certificates: authorities::installed(root) })
    }

    /// The digest of all of it: equal keys, equal base systems (but for what the archives published in between).
    pub(super) fn key(&self) -> String {
        let files = FILES.iter().flat_map(|(name, text)| [*name, *text]);
        let mut words: Vec<&str> =
            [VERSION, self.arch, &self.sources.suite, &self.sources.kernel].into_iter().chain(files).collect();
        for list in [&self.packages, &self.sources.lines] {
            words.push("--");
            words.extend(list.iter().map(String::as_str));
        }
        words.push("--");
        words.extend(self.certificates.keys().map(String::as_str));
        let mut digest = Sha256::new();
        for word in words {
            digest.update((word.len() as u64).to_le_bytes());
            digest.update(word);
        }
        format!("{:x}", digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        Recipe {
            arch: "amd64",
            packages: vec!["bash".into(), "git".into()],
            sources: sources::Sources { suite: "s".into(), kernel: "k".into(), lines: vec!["deb x".into()] },
            certificates: authorities::Certificates::new(),
        }
    }

    #[test]
    fn everything_counts_in_the_key() {
        let key = recipe().key();
        assert_eq!(key, recipe().key());
        let mut more = recipe();
        more.packages.push("jq".into());
        assert_ne!(key, more.key());
        let mut trusting = recipe();
        trusting.certificates.insert("digest".into(), "pem".into());
        assert_ne!(key, trusting.key());
        let mut moved = recipe();
        moved.packages.pop();
        moved.sources.lines.insert(0, "git".into());
        assert_ne!(key, moved.key(), "a word in another list is another recipe");
    }
}
