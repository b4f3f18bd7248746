//! Claude Code on a disk of its own: npm's package for the platform, its digest checked by us.
//!
//! npm and Node.js are the guest's own, kept beside the images: the host need not have them.

use super::tools::{PATH, Runner, die_with_us, tool};
use crate::error::{Context, Failure, Result};
use base64::Engine;
use sha2::{Digest, Sha512};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The version that was tested with this program.
const PINNED: &str = "2.1.330";

/// The platform's package, and the digest of [`PINNED`] in it.
#[cfg(not(target_arch = "aarch64"))]
const PACKAGE: (&str, &str) = (
    "@anthropic-ai/claude-code-linux-x64",
    "sha512-9Gn+V7DtJ8M1nztP9CeDVl9g3RtrepI7rOFTyPRRnZe8D6zebIHKmC7OvBauucuAP0X0k85SDN/LPVZyjsGezQ==",
);
/// The platform's package, and the digest of [`PINNED`] in it.
#[cfg(target_arch = "aarch64")]
const PACKAGE: (&str, &str) = (
    "@anthropic-ai/claude-code-linux-arm64",
    "sha512-V4yanAY5EA5UpwwRPtjSfqDbNqAlUJeVn3NYZw2AgmRHjdpSsLtHAzbxRXfkAnbjwTXzE0uedjQxUY02ARPcsA==",
);

/// One release of Claude Code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Release {
    /// Such as 2.1.330.
    pub(super) version: String,
    /// The package's digest as npm words it.
    pub(super) integrity: String,
}

/// Refuses words that are no version before anything is built.
///
/// # Errors
/// Unless `wanted` is `latest` or three numbers.
pub(super) fn check(wanted: Option<&str>) -> Result<()> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match wanted {
        None | Some("latest") => Ok(()),
        Some(v) if v.split('.').count() == 3 && v.split('.').all(number) => Ok(()),
        Some(v) => Err(Failure::usage(format!("\"{v}\" is no version of Claude Code"))
            .because("it is `latest` or three numbers")
            .next(format!("vmclaude image build --claude {PINNED}"))),
    }
}

/// The release that is wanted: ours without a look at the network, others as npm describes them.
///
/// # Errors
/// When npm does not know it.
pub(super) fn resolve(run: &Runner<'_>, node: &Path, work: &Path, wanted: Option<&str>) -> Result<Release> {
    let wanted = match wanted {
        None | Some(PINNED) => return Ok(Release { version: PINNED.to_owned(), integrity: PACKAGE.1.to_owned() }),
        Some(other) => other,
    };
    let what = format!("find Claude Code {wanted} in npm's registry");
    let mut npm = npm(node, work);
    npm.arg("view").arg(format!("{}@{wanted}", PACKAGE.0)).args(["version", "dist.integrity", "--json"]);
    let text = run.output(&mut npm, &what, Duration::from_secs(120))?;
    parse_view(&text)
        .ok_or_else(|| Failure::new(format!("cannot {what}")).because("npm's answer has no version and sha512"))
}

fn parse_view(text: &str) -> Option<Release> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let field = |name: &str| json.get(name)?.as_str().map(str::to_owned);
    let release = Release { version: field("version")?, integrity: field("dist.integrity")? };
    release.integrity.starts_with("sha512-").then_some(release)
}

/// Fetches the release, checks it, and writes the disk.
///
/// # Errors
/// When it cannot be fetched, is not what its digest says, or has no program in it.
pub(super) fn disk(run: &Runner<'_>, node: &Path, work: &Path, release: &Release, out: &Path) -> Result<()> {
    let what = format!("fetch Claude Code {}", release.version);
    let mut npm = npm(node, work);
    npm.args(["pack", "--ignore-scripts", "--pack-destination"]).arg(work);
    npm.arg(format!("{}@{}", PACKAGE.0, release.version));
    run.run(&mut npm, &what, Duration::from_secs(1200))?;
    let tgz = packed(work).ok_or_else(|| Failure::new(format!("cannot {what}")).because("npm left no package"))?;
    let found = integrity(&tgz).what(|| format!("cannot {what}"))?;
    if found != release.integrity {
        return Err(Failure::new(format!("cannot {what}"))
            .because(format!("its digest is {found}"))
            .because(format!("and should be {}", release.integrity)));
    }
    let tree = work.join("claude");
    std::fs::create_dir_all(tree.join("bin")).what(|| format!("cannot {what}"))?;
    let mut tar = tool("tar")?;
    tar.arg("-xzf").arg(&tgz).arg("-C").arg(tree.join("bin")).args(["--strip-components=1", "package/claude"]);
    run.run(&mut tar, "unpack Claude Code", Duration::from_secs(120))?;
    std::fs::set_permissions(tree.join("bin/claude"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .and_then(|()| std::fs::set_permissions(tree.join("bin"), std::os::unix::fs::PermissionsExt::from_mode(0o755)))
        .and_then(|()| std::fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o755)))
        .what(|| format!("cannot {what}"))?;
    let mut mkfs = tool("mkfs.erofs")?;
    mkfs.args(["--quiet", "--all-root"]).arg(out.join("claude.erofs")).arg(&tree);
    run.run(&mut mkfs, "write Claude Code's disk", Duration::from_secs(120))
}

/// npm with the user's own configuration (mirrors, proxies), away from any project's.
fn npm(node: &Path, work: &Path) -> Command {
    let mut npm = Command::new(node.join("bin/node"));
    die_with_us(&mut npm, nix::sys::signal::Signal::SIGTERM);
    npm.arg(node.join("lib/npm/bin/npm-cli.js")).current_dir(work).env("PATH", PATH);
    npm.env("npm_config_cache", work.join("npm")).env("npm_config_update_notifier", "false");
    // This Node.js does not look at the system's certificates by itself.
    npm.env("NODE_USE_SYSTEM_CA", "1");
    npm
}

fn packed(work: &Path) -> Option<std::path::PathBuf> {
    let files = std::fs::read_dir(work).ok()?;
    files.filter_map(|e| Some(e.ok()?.path())).find(|p| p.extension().is_some_and(|e| e == "tgz"))
}

fn integrity(file: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let mut digest = Sha512::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(digest.finalize()))),
            n => digest.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_latest_or_three_numbers() {
        assert!([None, Some("latest"), Some("2.1.330")].into_iter().all(|v| check(v).is_ok()));
        assert!(["", "2", "2.1", "2.1.x", "2.1.330-beta", "../x", "2..1"].into_iter().all(|v| check(Some(v)).is_err()));
    }

    #[test]
    fn only_an_answer_with_a_sha512_is_a_release() {
        let release = parse_view(r#"{"version":"2.1.331","dist.integrity":"sha512-AA=="}"#).unwrap();
        assert_eq!(release, Release { version: "2.1.331".into(), integrity: "sha512-AA==".into() });
        assert!(parse_view(r#"{"version":"2.1.331","dist.integrity":"sha1-AA=="}"#).is_none());
        assert!(parse_view("").is_none());
    }

    #[test]
    fn integrity_is_npms() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let known = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
        assert_eq!(integrity(file.path()).unwrap(), known);
    }
}
