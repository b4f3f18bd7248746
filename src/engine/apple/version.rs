//! Versions of `container`, and which of them will do.

use crate::error::{Failure, Result};
use std::fmt;

/// Three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// The oldest that will do: its answers have the shape that is read here, and directories share one device.
pub const OLDEST: Version = Version(1, 0, 0);
/// The oldest without known holes that matter here.
pub const SOUND: Version = Version(1, 2, 1);

/// What updates `container`, for a person to type.
const UPDATE: &str = "/usr/local/bin/update-container.sh   # or: brew upgrade container";
/// What makes client and service one version again.
const RESTART: &str = "container system stop && container system start";

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// The first `x.y.z` in a text such as `container-apiserver version 1.2.2 (build: release, commit: 1234abc)`.
    pub fn find(text: &str) -> Option<Version> {
        text.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut numbers = word.split('.').map(|n| n.parse().ok());
            let version = Version(numbers.next()??, numbers.next()??, numbers.next()??);
            numbers.next().is_none().then_some(version)
        })
    }
}

/// Whether these versions will do; the warning is for a person who can do something about it.
///
/// # Errors
/// When the client is too old.
pub fn judge(client: Version, server: Option<Version>) -> Result<Option<Failure>> {
    if client < OLDEST {
        return Err(Failure::new(format!("Apple's container {client} is too old"))
            .because(format!("{OLDEST} is the first version that vmclaude can use"))
            .next(UPDATE));
    }
    if let Some(server) = server.filter(|server| *server != client) {
        let what = format!("Apple's container is {client}, but the service that runs is {server}");
        return Ok(Some(Failure::new(what).because("it was updated and not started again").next(RESTART)));
    }
    let old = || {
        Failure::new(format!("Apple's container {client} has known security faults"))
            .because(format!("{SOUND} mends them"))
            .next(UPDATE)
    };
    Ok((client < SOUND).then(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_is_said() {
        for (text, version) in [
            ("1.2.2", Some(Version(1, 2, 2))),
            ("container CLI version 1.2.2 (build: release, commit: abc1234)", Some(Version(1, 2, 2))),
            ("container-apiserver version 1.10.0 (build: release, commit: unspeci)", Some(Version(1, 10, 0))),
            ("1.2", None),
            ("1.2.3.4", None),
            ("", None),
            ("99999999999.1.1", None),
        ] {
            assert_eq!(Version::find(text), version, "{text}");
        }
        assert!(Version(1, 10, 0) > Version(1, 9, 9) && Version(0, 12, 3) < OLDEST);
    }

    #[test]
    fn the_gate() {
        assert!(judge(Version(0, 12, 3), None).is_err_and(|e| e.what.contains("0.12.3") && e.next.is_some()));
        let warned = |client, server| judge(client, server).expect("will do").map(|w| w.what);
        assert!(warned(Version(1, 0, 0), None).is_some_and(|w| w.contains("1.0.0")));
        assert!(warned(Version(1, 2, 0), Some(Version(1, 2, 0))).is_some());
        assert_eq!(warned(Version(1, 2, 1), Some(Version(1, 2, 1))), None);
        assert_eq!(warned(Version(1, 4, 1), None), None);
        assert!(warned(Version(1, 2, 2), Some(Version(1, 2, 1))).is_some_and(|w| w.contains("service that runs")));
    }
}
