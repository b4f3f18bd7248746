//! The host's time zone, which a guest is told by `TZ`.

use std::path::{Component, Path};

/// Where systems say which zone is theirs.
pub const FILE: &str = "/etc/localtime";
/// The longest rules that are taken from a file; real ones have some 40 bytes.
const LONGEST: usize = 80;

/// The zone that `file` is: by its name where it is a link to one, or else by its rules. As a value of `TZ`. Links are followed to
/// their end, because not every system has the zones' older names.
pub(super) fn of(file: &Path) -> Option<String> {
    let target = std::fs::canonicalize(file).ok()?;
    name(&target).or_else(|| rules(&std::fs::read(target).ok()?))
}

/// `Europe/Berlin` of `/usr/share/zoneinfo/Europe/Berlin`; on macOS the directory is another one of that name.
fn name(target: &Path) -> Option<String> {
    let is_zones = |part: &Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b"zoneinfo");
    let mut below = target.components().skip_while(|part| !is_zones(part)).skip(1).peekable();
    // The same zones once more, which not every system has.
    below.next_if(|part| ["posix", "right"].iter().any(|variant| part.as_os_str() == *variant));
    let names: Option<Vec<&str>> = below.map(plain).collect();
    names.map(|names| names.join("/")).filter(|name| !name.is_empty())
}

fn plain(part: Component<'_>) -> Option<&str> {
    let Component::Normal(part) = part else { return None };
    part.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b)))
}

/// The rules for the present, which stand at the end of a zone's file (RFC 9636): `CET-1CEST,M3.5.0,M10.5.0/3`.
fn rules(file: &[u8]) -> Option<String> {
    let text = file.strip_prefix(b"TZif").filter(|rest| rest.first().is_some_and(|version| *version >= b'2'))?;
    let text = text.strip_suffix(b"\n")?;
    let start = text.iter().rposition(|b| *b == b'\n')? + 1;
    let text = std::str::from_utf8(&text[start..]).ok()?;
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_into_the_zones_is_a_name() {
        for (target, zone) in [
            ("/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"),
            ("/usr/share/zoneinfo/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
            ("/var/db/timezone/zoneinfo/Asia/Kolkata", "Asia/Kolkata"),
            ("/usr/share/zoneinfo.default/Etc/GMT+5", "Etc/GMT+5"),
            ("/etc/zoneinfo/UTC", "UTC"),
            ("/usr/share/zoneinfo/right/Europe/Paris", "Europe/Paris"),
        ] {
            assert_eq!(name(Path::new(target)).as_deref(), Some(zone), "{target}");
        }
        for bad in ["/usr/share/zoneinfo", "/etc/static/localtime", "/zoneinfo/../x", "/zoneinfo/a b", "/zoneinfo/a\n"]
        {
            assert_eq!(name(Path::new(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn links_are_followed_and_a_file_has_rules() {
        let dir = tempfile::tempdir().expect("dir");
        let at = |name: &str| dir.path().join(name);
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, at(name)).expect("link");
        std::fs::create_dir_all(at("zoneinfo/Europe")).expect("dirs");
        std::fs::write(at("zoneinfo/Europe/Berlin"), b"TZif2\0\0\n\nCET-1CEST,M3.5.0,M10.5.0/3\n").expect("write");
        link(Path::new("zoneinfo/Europe/Berlin"), "direct");
        link(&at("direct"), "other");
        link(Path::new("Europe/Berlin"), "zoneinfo/Old");
        link(Path::new("zoneinfo/Old"), "old");
        link(Path::new("zoneinfo/None"), "nowhere");
        std::fs::copy(at("zoneinfo/Europe/Berlin"), at("file")).expect("copy");
        let zone = |name: &str| of(&at(name));
        for name in ["direct", "other", "old"] {
            assert_eq!(zone(name).as_deref(), Some("Europe/Berlin"), "{name}");
        }
        assert_eq!(zone("file").as_deref(), Some("CET-1CEST,M3.5.0,M10.5.0/3"));
        assert_eq!((zone("missing"), zone("nowhere")), (None, None));
    }

    #[test]
    fn what_is_no_zone_has_no_rules() {
        for bad in [&b""[..], b"TZif\0x\nUTC0\n", b"TZif2x\n\n", b"TZif2x\nUTC0", b"text\nUTC0\n", b"TZif2\nA B\n"] {
            assert_eq!(rules(bad), None, "{bad:?}");
        }
        assert_eq!(rules(b"TZif2\0\n<+0530>-5:30\n").as_deref(), Some("<+0530>-5:30"));
    }
}
