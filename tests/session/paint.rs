//! Colours as they are seen: the same cells are the same text, by whatever sequences they came to be so.

use std::collections::BTreeMap;

/// What is set: colours of front (30) and back (40), and the rest by its number.
type Style = BTreeMap<u16, String>;

/// The lines with a sequence only where a cell that shows it differs from the one before; without blanks at their ends.
pub(crate) fn canonical(text: &str) -> Vec<String> {
    let mut now = Style::new();
    text.lines().map(|line| repaint(line, &mut now)).collect()
}

fn repaint(line: &str, now: &mut Style) -> String {
    let (mut out, mut last, mut blanks) = (String::new(), Style::new(), 0);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some((words, after)) = rest.strip_prefix("\u{1b}[").and_then(|s| s.split_once('m')) {
            apply(words, now);
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        // A blank shows what is behind it, under it and through it.
        let shown = |style: &u16| c != ' ' || [40, 4, 7, 9].contains(style);
        let style: Style = now.iter().filter(|(k, _)| shown(k)).map(|(k, v)| (*k, v.clone())).collect();
        if c == ' ' && style.is_empty() {
            blanks += 1;
            continue;
        }
        out.extend(std::iter::repeat_n(' ', std::mem::take(&mut blanks)));
        if style != last {
            let words: Vec<&str> = style.values().map(String::as_str).collect();
            out += &format!("\u{1b}[{}m", words.join(";"));
            last = style;
        }
        out.push(c);
    }
    out
}

/// One sequence.
fn apply(words: &str, now: &mut Style) {
    let mut words = words.split(';');
    while let Some(word) = words.next() {
        let number: u16 = word.split(':').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match number {
            0 => now.clear(),
            38 | 48 => {
                let mut colour = vec![word];
                if !word.contains(':') {
                    let kind = words.next().unwrap_or_default();
                    colour.push(kind);
                    colour.extend(words.by_ref().take(if kind == "2" { 3 } else { 1 }));
                }
                now.insert(number / 10 * 10, colour.join(";"));
            }
            30..=37 | 90..=97 => drop(now.insert(30, word.to_owned())),
            40..=47 | 100..=107 => drop(now.insert(40, word.to_owned())),
            39 | 49 => drop(now.remove(&(number / 10 * 10))),
            21 | 22 => now.retain(|k, _| ![1, 2].contains(k)),
            23..=29 => drop(now.remove(&(number - 20))),
            _ => drop(now.insert(number, word.to_owned())),
        }
    }
}

#[test]
fn cells_decide_and_not_sequences() {
    let same = |a: &str, b: &str| canonical(a) == canonical(b);
    assert!(same("\u{1b}[31ma b\u{1b}[39m  ", "\u{1b}[31ma\u{1b}[39m \u{1b}[31mb"));
    assert!(same("\u{1b}[1;38;5;9mx\n\u{1b}[0my", "\u{1b}[38;5;9m\u{1b}[1mx\u{1b}[22;39m\ny"));
    for other in ["\u{1b}[32ma b", "\u{1b}[31ma b \u{1b}[7m ", "\u{1b}[31;1ma b", "a b", "\u{1b}[31ma  b"] {
        assert!(!same("\u{1b}[31ma b", other), "{other:?}");
    }
}
