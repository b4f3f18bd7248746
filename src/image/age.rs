//! Whether the image is what it should be: its packages are those that are wanted, its Claude Code is not an old one. Nothing is executed to find out: in an enrolled tree the host's claude
//! does not run, not even to say its version.

use std::path::Path;

/// An image older than this may lack what everybody else has: Claude Code has a new version most days.
const OLD_DAYS: u64 = 30;

/// Why the image's Claude Code should be a newer one; `None`: it need not. `age`: of the image, in seconds.
pub fn outdated(image: &str, age: u64, host: Option<&Path>) -> Option<String> {
    let theirs = host.and_then(version_of);
    let newer = theirs.filter(|theirs| numbers(theirs) > numbers(image) && numbers(image).is_some());
    let days = age / (24 * 60 * 60);
    match newer {
        Some(theirs) => Some(format!("it is {image}, and the host's is {theirs}")),
        None if days > OLD_DAYS => Some(format!("it is {image}, and was fetched {days} days ago")),
        None => None,
    }
}

/// The packages that are wanted and that an image was not built with; `None`: it has them all, or nobody knows.
pub fn lacking(wanted: &[String], built: Option<&[String]>) -> Option<String> {
    let built = built?;
    let lacking: Vec<&str> = wanted.iter().filter(|name| !built.contains(name)).map(String::as_str).collect();
    (!lacking.is_empty()).then(|| lacking.join(" "))
}

/// The version of an installed Claude Code by where it lies: in a directory of versions, or as a package of npm's.
fn version_of(program: &Path) -> Option<String> {
    let real = program.canonicalize().ok()?;
    let named = real.parent()?.ends_with("versions").then(|| real.file_name()?.to_str().map(str::to_owned));
    let packaged = || {
        let mut dirs = real.ancestors().skip(1).take(4);
        let dir = dirs.find(|dir| dir.parent().is_some_and(|up| up.ends_with("@anthropic-ai")))?;
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("package.json")).ok()?).ok()?;
        json.get("version")?.as_str().map(str::to_owned)
    };
    named.flatten().or_else(packaged).filter(|version| numbers(version).is_some())
}

/// The three numbers of a version.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let all: Vec<u32> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    all.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_an_image_lacks_is_what_was_asked_for_later() {
        let [go, make, ruby] = ["golang", "make", "ruby"].map(str::to_owned);
        let wanted = [go, make.clone(), ruby];
        assert_eq!(lacking(&wanted, Some(std::slice::from_ref(&make))).as_deref(), Some("golang ruby"));
        assert_eq!(lacking(&wanted, Some(&wanted)), None);
        assert_eq!(lacking(&[], Some(&[])), None);
        assert_eq!(lacking(&wanted, None), None, "an older program wrote it");
    }

    #[test]
    fn an_image_is_old_by_the_hosts_version_or_by_its_days() {
        let dir = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(&path, text).expect("write");
            path
        };
        let native = dir.path().join("claude");
        symlink(write("share/claude/versions/2.1.340", "x"), &native).expect("ln");
        let package = write("lib/node_modules/@anthropic-ai/claude-code/cli.js", "x");
        write("lib/node_modules/@anthropic-ai/claude-code/package.json", r#"{"version":"2.1.9"}"#);
        let script = write("bin/claude", "#!/bin/sh\necho 9.9.9\n");
        let why = |image: &str, days: u64, host: &Path| outdated(image, days * 86_400, Some(host));
        assert_eq!(why("2.1.330", 1, &native).as_deref(), Some("it is 2.1.330, and the host's is 2.1.340"));
        assert_eq!(why("2.1.330", 1, &package), None, "by numbers, not by letters");
        assert_eq!(why("2.1.330", 1, &script), None, "nobody asks a program");
        assert_eq!(why("2.1.330", 31, &package).as_deref(), Some("it is 2.1.330, and was fetched 31 days ago"));
        assert_eq!(outdated("2.1.330", 30 * 86_400, None), None);
    }
}
