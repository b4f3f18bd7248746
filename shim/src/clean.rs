//! The one function that makes a foreign string fit for a terminal, a log or a message: nothing in it can move the cursor,
//! answer for somebody, or look like what it is not.

use std::fmt::Write;

/// `text` with everything visible as an escape that is no ordinary character: controls of both sets, marks that turn the
/// direction of writing, invisible characters, and separators of lines.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            match c {
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                _ => {
                    let _ = write!(out, "\\u{{{:x}}}", c as u32);
                }
            }
        }
    }
    out
}

/// The same for text of several lines of ours, whose breaks and tabs stay.
pub fn clean_lines(text: &str) -> String {
    let keep = |c: char| c == '\n' || c == '\t';
    text.split_inclusive(keep)
        .map(|part| {
            let body = part.trim_end_matches(keep);
            clean(body) + &part[body.len()..]
        })
        .collect()
}

/// Whether a terminal shows this character as one, in its place, and does nothing else.
pub fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_ordinary_characters_is_left() {
        for (text, shown) in [
            ("plain, äöü 漢字 🙂 %s $(x) `y`", "plain, äöü 漢字 🙂 %s $(x) `y`"),
            ("a\x1b]0;owned\x07b", "a\\u{1b}]0;owned\\u{7}b"),
            ("\u{9b}31m\u{9d}\u{90}", "\\u{9b}31m\\u{9d}\\u{90}"),
            ("a\nb\rc\td\x7f\x08", "a\\nb\\rc\\td\\u{7f}\\u{8}"),
            ("evil\u{202e}txt.exe", "evil\\u{202e}txt.exe"),
            ("\u{2066}\u{2069}\u{200b}\u{feff}\u{e0041}", "\\u{2066}\\u{2069}\\u{200b}\\u{feff}\\u{e0041}"),
            ("\u{2028}\u{2029}\u{85}", "\\u{2028}\\u{2029}\\u{85}"),
        ] {
            assert_eq!(clean(text), shown);
        }
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            assert!(clean(&c.to_string()).chars().all(is_plain), "{c:?}");
        }
        assert_eq!(clean_lines("a\x1bb\n\n\tc\r\n"), "a\\u{1b}b\n\n\tc\\r\n");
    }
}
