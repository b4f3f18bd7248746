//! The locale in a guest: its image has `C` and `C.UTF-8` and no other, and programs complain of one that is missing.

/// The variables that name a locale. Others begin with `LC_` too, such as `LC_TERMINAL`.
const NAMES: &[&str] = &[
    "LANG",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
];

/// Whether the variable's value is a locale's name.
pub(super) fn is_named_by(variable: &str) -> bool {
    NAMES.contains(&variable)
}

/// What this locale of the host is in the guest, each for itself, so that whichever counts there is that which counts here.
/// `None`: it is none.
pub(super) fn in_guest(locale: &str) -> Option<&'static str> {
    let (name, modifier) = locale.split_once('@').unwrap_or((locale, ""));
    // macOS also has `UTF-8`, which is an encoding alone.
    let encoding = name.split_once('.').map_or(name, |(_, encoding)| encoding);
    let utf8 = encoding.eq_ignore_ascii_case("utf-8") || encoding.eq_ignore_ascii_case("utf8");
    // One that does not say is UTF-8 for some (India's `en_IN`), and on nearly every terminal; one for the euro is older.
    let unsaid = !name.contains('.') && modifier != "euro" && !matches!(name, "C" | "POSIX");
    match name {
        "" => None,
        _ if utf8 || unsaid => Some("C.UTF-8"),
        _ => Some("C"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_locale_is_one_that_the_guest_has() {
        for utf8 in [
            "en_US.UTF-8",
            "de_DE.utf8",
            "C.UTF-8",
            "UTF-8",
            "ca_ES.UTF-8@valencia",
            "en_IN",
            "sr_RS@latin",
            "en_US.Utf-8",
        ] {
            assert_eq!(in_guest(utf8), Some("C.UTF-8"), "{utf8}");
        }
        for other in ["C", "POSIX", "de_DE.ISO-8859-1", "ja_JP.eucJP", "de_DE@euro", "de_DE.ISO-8859-15@euro", "en_US."]
        {
            assert_eq!(in_guest(other), Some("C"), "{other}");
        }
        assert_eq!(in_guest(""), None, "as if it were not set");
    }
}
