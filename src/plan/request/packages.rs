//! Names of Debian packages.

use super::bad;
use crate::error::Result;

/// Whether apt takes this for a package's name and nothing else: no option, file, pattern or release. With `-` at its end it
/// would mean that the package is to go, with `.` everything that begins so; `+` is the end of some names (`g++`).
pub fn is_package(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() > 1
        && name.starts_with(plain)
        && name.chars().all(|c| plain(c) || "+-.".contains(c))
        && !name.ends_with(['-', '.'])
}

/// Refuses what is no name.
pub(super) fn check(name: &str) -> Result<()> {
    match is_package(name) {
        true => Ok(()),
        false => Err(bad(format!("{name:?} in packages is no Debian package's name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_are_plain() {
        for name in ["g++", "libc6.1", "python3", "libstdc++-12-dev", "a2ps"] {
            assert!(is_package(name), "{name}");
        }
        for name in ["", "a", "-x", "~n", "a b", "?all", "./x.deb", "git/sid", "sudo-", "zlib1.", "A2", "+a", ".a"] {
            assert!(!is_package(name), "{name}");
        }
    }
}
