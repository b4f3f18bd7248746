//! Operating-system commands (OSC): which of them pass.

use serde::Deserialize;

/// What a guest may do with the host's clipboard. Reading is never allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clipboard {
    /// Nothing.
    #[default]
    Deny,
    /// Write to it.
    Allow,
}

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    Dropped,
    /// A copy to the clipboard that the configuration does not allow.
    Denied,
}

/// The longest title or notification.
const TEXT: usize = 1024;

/// Judges a command, given without its introducer and its end.
pub(super) fn verdict(command: &[u8], clipboard: Clipboard) -> Verdict {
    let Ok(text) = std::str::from_utf8(command) else { return Verdict::Dropped };
    if text.chars().any(char::is_control) {
        return Verdict::Dropped;
    }
    let (number, rest) = text.split_once(';').map_or((text, None), |(n, rest)| (n, Some(rest)));
    if number == "52" {
        return match (rest.is_some_and(is_copy), clipboard) {
            (false, _) => Verdict::Dropped,
            (true, Clipboard::Allow) => Verdict::Passes,
            (true, Clipboard::Deny) => Verdict::Denied,
        };
    }
    if passes(number, rest) { Verdict::Passes } else { Verdict::Dropped }
}

fn passes(number: &str, rest: Option<&str>) -> bool {
    let text = rest.unwrap_or_default();
    match number {
        // Titles.
        "0" | "1" | "2" => text.len() <= TEXT,
        // Colours: set, asked for, and reset.
        "4" => is_palette(text),
        "10" | "11" | "12" => text.split(';').all(|colour| colour == "?" || is_colour(colour)),
        "104" => text.split(';').all(|n| n.is_empty() || is_index(n)),
        "110" | "111" | "112" => text.is_empty(),
        "8" => is_link(text),
        // Notifications and progress; numbers are commands of ConEmu's, which starts programs.
        "9" => is_progress(text) || text.len() <= TEXT && !text.starts_with(|c: char| c.is_ascii_digit()),
        "99" => text.len() <= TEXT && is_kitty_notification(text),
        "777" => text.len() <= TEXT && text.starts_with("notify;"),
        // Marks of prompts, and Claude's status for tabs.
        "133" => text.len() <= TEXT && text.starts_with(['A', 'B', 'C', 'D']),
        "21337" => text.len() <= TEXT && !text.contains('?'),
        _ => false,
    }
}

/// Where to, and base64: not the question mark that would read.
fn is_copy(rest: &str) -> bool {
    let Some((to, data)) = rest.split_once(';') else { return false };
    to.bytes().all(|b| b"cpqs01234567".contains(&b))
        && data.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

fn is_palette(text: &str) -> bool {
    let words: Vec<&str> = text.split(';').collect();
    words.len().is_multiple_of(2) && words.chunks(2).all(|w| is_index(w[0]) && (w[1] == "?" || is_colour(w[1])))
}

fn is_index(text: &str) -> bool {
    text.len() <= 3 && text.parse::<u16>().is_ok_and(|n| n < 256) && text.bytes().all(|b| b.is_ascii_digit())
}

/// A colour as X spells it: `#rrggbb`, `rgb:r/g/b`, a name.
fn is_colour(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"#:/.".contains(&b))
}

/// Links into the web; the end of a link always passes.
fn is_link(text: &str) -> bool {
    let Some((parameters, target)) = text.split_once(';') else { return false };
    let plain = parameters.bytes().all(|b| b.is_ascii_alphanumeric() || b"=:_-.".contains(&b));
    let schemes = ["https://", "http://", "mailto:"];
    plain && (target.is_empty() || schemes.iter().any(|s| target.starts_with(s)))
}

fn is_progress(text: &str) -> bool {
    text.strip_prefix("4;").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b';'))
}

/// One that asks for no answer.
fn is_kitty_notification(text: &str) -> bool {
    let about = text.split(';').next().unwrap_or_default();
    about.split(':').filter(|word| !word.is_empty()).all(|word| match word.split_once('=') {
        Some(("i", id)) => id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b)),
        Some(("d", value)) => ["0", "1"].contains(&value),
        Some(("p", value)) => ["title", "body"].contains(&value),
        Some(("a", value)) => value == "focus",
        Some(("u", value)) => ["0", "1", "2"].contains(&value),
        Some(("o", value)) => ["always", "unfocused", "invisible"].contains(&value),
        _ => false,
    })
}
