//! The host's own apt sources, cut down to its distribution's archives: the guest is built from what the host trusts and
//! reaches (mirrors included), without the host's third-party packages.

use crate::error::{Context, Failure, Result};
use std::path::Path;

/// Where the guest's packages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    /// The release, such as `bookworm`.
    pub(super) suite: String,
    /// The package that depends on the kernel's newest package.
    pub(super) kernel: String,
    /// Lines of a `sources.list`.
    pub(super) lines: Vec<String>,
}

/// One source, in whichever form it was written.
#[derive(Debug, Default)]
struct Entry {
    types: String,
    uris: String,
    suites: String,
    components: String,
    signed_by: String,
    architectures: String,
    enabled: bool,
}

/// Reads the sources below `etc` (the host's `/etc`). `arch` is Debian's name of the processor.
///
/// # Errors
/// When the distribution is not one that we know, or none of its archives is among the sources.
pub(super) fn read(etc: &Path, arch: &str) -> Result<Sources> {
    let release = std::fs::read_to_string(etc.join("os-release")).what(|| "cannot tell which distribution this is")?;
    let value = |name: &str| release.lines().find_map(|l| Some(l.strip_prefix(name)?.trim_matches('"').to_owned()));
    let (id, suite) = (value("ID=").unwrap_or_default(), value("VERSION_CODENAME=").unwrap_or_default());
    let kernel = match id.as_str() {
        "debian" => format!("linux-image-cloud-{arch}"),
        "ubuntu" => "linux-image-virtual".to_owned(),
        _ => return Err(Failure::new("cannot build the image").because(format!("{id} is neither debian nor ubuntu"))),
    };
    let mut lines: Vec<String> = entries(&etc.join("apt"))?.iter().flat_map(|e| e.lines(&id, &suite, arch)).collect();
    lines.sort();
    lines.dedup();
    if lines.is_empty() {
        return Err(Failure::new("cannot build the image")
            .because(format!("apt's sources name no archive of {id} {suite}"))
            .next("cat /etc/apt/sources.list /etc/apt/sources.list.d/*"));
    }
    Ok(Sources { suite, kernel, lines })
}

fn entries(apt: &Path) -> Result<Vec<Entry>> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(dir) = std::fs::read_dir(apt.join("sources.list.d")) {
        files.extend(dir.filter_map(|e| Some(e.ok()?.path())));
    }
    files.sort();
    let mut all = Vec::new();
    for file in files.iter().filter(|f| f.is_file()) {
        let text = || std::fs::read_to_string(file).what(|| format!("cannot read {}", file.display()));
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => all.extend(text()?.lines().filter_map(one_line)),
            Some("sources") => all.extend(text()?.split("\n\n").map(stanza)),
            _ => {}
        }
    }
    Ok(all)
}

/// `deb [options] uri suite component...`
fn one_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let (types, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let option = |name: &str| options.split_whitespace().find_map(|o| o.strip_prefix(name)).unwrap_or_default();
    Some(Entry {
        types: types.to_owned(),
        uris: words.next()?.to_owned(),
        suites: words.next()?.to_owned(),
        components: words.collect::<Vec<_>>().join(" "),
        signed_by: option("signed-by=").to_owned(),
        architectures: option("arch=").replace(',', " "),
        enabled: true,
    })
}

/// A stanza of `Field: value` lines; a line that starts with a space continues the one before.
fn stanza(text: &str) -> Entry {
    let text = text.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n").replace("\n ", " ");
    let field = |name: &str| {
        let hit = |l: &str| {
            let (key, value) = l.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        text.lines().find_map(hit).unwrap_or_default()
    };
    Entry {
        types: field("Types"),
        uris: field("URIs"),
        suites: field("Suites"),
        components: field("Components"),
        signed_by: field("Signed-By"),
        architectures: field("Architectures"),
        enabled: !field("Enabled").eq_ignore_ascii_case("no"),
    }
}

impl Entry {
    /// What of this entry belongs to the distribution. Third parties use its suite names too, but sign with their keys.
    fn lines(&self, id: &str, suite: &str, arch: &str) -> Vec<String> {
        let has = |words: &str, word: &str| words.split_whitespace().any(|w| w == word);
        let foreign = !self.signed_by.is_empty() && !self.signed_by.contains(&format!("{id}-archive"));
        let other_arch = !self.architectures.is_empty() && !has(&self.architectures, arch);
        if !self.enabled || !has(&self.types, "deb") || foreign || other_arch {
            return Vec::new();
        }
        let components: Vec<_> = ["main", "universe"].into_iter().filter(|c| has(&self.components, c)).collect();
        if !components.contains(&"main") {
            return Vec::new();
        }
        let option = match self.signed_by.split_whitespace().next() {
            Some(key) => format!("[signed-by={key}] "),
            None => String::new(),
        };
        let ours = [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")];
        let suites: Vec<_> = self.suites.split_whitespace().filter(|s| ours.iter().any(|o| o == s)).collect();
        let line = |uri: &str, suite: &str| format!("deb {option}{uri} {suite} {}", components.join(" "));
        self.uris
            .split_whitespace()
            .flat_map(|uri| suites.iter().map(move |s| (uri, *s)))
            .map(|(u, s)| line(u, s))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let etc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(etc.path().join("apt/sources.list.d")).unwrap();
        std::fs::write(etc.path().join("os-release"), "ID=debian\nVERSION_CODENAME=bookworm\n").unwrap();
        for (name, text) in files {
            std::fs::write(etc.path().join("apt").join(name), text).unwrap();
        }
        etc
    }

    #[test]
    fn only_the_distributions_archives_are_kept() {
        let etc = host(&[
            (
                "sources.list",
                "deb http://mirror.example/debian bookworm main contrib # near\n\
                 deb-src http://mirror.example/debian bookworm main\n\
                 deb [arch=arm64] http://mirror.example/ports bookworm main\n\
                 deb [arch=amd64,arm64 signed-by=/k/other.gpg] http://third.example bookworm main\n\
                 deb http://third.example bookworm stable\n",
            ),
            (
                "sources.list.d/debian.sources",
                "# a comment\nTypes: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\n\
                 Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
                 Types: deb\nURIs: http://mirror.example/off\nSuites: bookworm\nComponents: main\nEnabled: no\n",
            ),
            ("sources.list.d/x.list.disabled", "deb http://mirror.example/disabled bookworm main\n"),
        ]);
        let sources = read(etc.path(), "amd64").unwrap();
        assert_eq!(
            sources.lines,
            [
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/security bookworm-security main",
                "deb http://mirror.example/debian bookworm main",
            ]
        );
        assert_eq!((sources.suite.as_str(), sources.kernel.as_str()), ("bookworm", "linux-image-cloud-amd64"));
    }

    #[test]
    fn no_archive_is_an_error_that_says_so() {
        let failure = read(host(&[("sources.list", "")]).path(), "amd64").unwrap_err();
        assert!(failure.because[0].contains("name no archive of debian bookworm"));
    }
}
