//! Control sequences: which of them pass. Questions pass whose answer is numbers or the terminal's own name; those whose
//! answer holds text that a program can choose, or that was on the screen before, do not.

/// Private modes that a program may switch: keys, cursor, colours, screens, mouse, paste, focus, synchronised output. Not
/// VT52 (2), whose sequences are others, and not the reports of other programs' clipboards (5522).
pub(super) const MODES: &[u16] = &[
    1, 3, 4, 5, 6, 7, 8, 9, 12, 25, 40, 45, 47, 66, 67, 69, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016,
    1034, 1035, 1036, 1039, 1045, 1047, 1048, 1049, 2004, 2026, 2027, 2031, 2048, 9001,
];

/// Whether an escape sequence passes, given without its ESC: intermediate bytes and the last one.
pub(super) fn escape_passes(rest: &[u8]) -> bool {
    match rest {
        // Cursor, index, tabs, keypad, character sets in use, reset, and the end of a string that is over.
        [last] => b"6789=>DEHMNOcno|}~\\".contains(last),
        // Character sets, and lines of double size. Not the switch to another coding of all that follows.
        [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/', _] => true,
        [b'#', b'3'..=b'6' | b'8'] => true,
        _ => false,
    }
}

/// Whether a control sequence passes, given without its ESC and bracket.
pub(super) fn passes(body: &[u8]) -> bool {
    let Some((last, rest)) = body.split_last() else { return false };
    let parameters = rest.iter().take_while(|b| (0x30..=0x3f).contains(*b)).count();
    let (parameters, between) = rest.split_at(parameters);
    if between.iter().any(|b| !(0x20..=0x2f).contains(b)) {
        return false;
    }
    let (mark, numbers) = match parameters.first() {
        Some(mark @ b'<'..=b'?') => (Some(*mark), &parameters[1..]),
        _ => (None, parameters),
    };
    // Marks stand first or nowhere.
    let numeric = numbers.iter().all(|b| matches!(b, b'0'..=b'9' | b';' | b':'));
    numeric
        && match (mark, between) {
            (None, []) => plain(numbers, *last),
            (Some(mark), []) => marked(mark, numbers, *last),
            (mark, [between]) => between_passes(mark, *between, *last),
            _ => false,
        }
}

fn plain(numbers: &[u8], last: u8) -> bool {
    match last {
        // Cursor, erasing, inserting, scrolling, tabs, colours, margins.
        b'@'..=b'M' | b'P' | b'S' | b'T' | b'X' | b'Z' | b'`'..=b'b' | b'd'..=b'g' | b'm' | b'r' | b's' | b'u' => true,
        // Insertion, and the cursor's form of screen and tmux. Others lock the keyboard or echo keys.
        b'h' | b'l' => matches!(numbers, b"4" | b"34"),
        b'c' => matches!(numbers, b"" | b"0"),
        b'n' => matches!(numbers, b"5" | b"6"),
        b't' => window_passes(numbers),
        _ => false,
    }
}

/// Sizes in numbers, and the stack of titles; neither moving windows nor telling their titles.
fn window_passes(numbers: &[u8]) -> bool {
    let first = numbers.split(|b| *b == b';').next().unwrap_or_default();
    matches!(first, b"14" | b"16" | b"18" | b"19" | b"22" | b"23")
}

fn marked(mark: u8, numbers: &[u8], last: u8) -> bool {
    match (mark, last) {
        (b'?', b'h' | b'l') => modes_pass(numbers),
        (b'?', b'r' | b's') => modes_pass(numbers),
        (b'?', b'J' | b'K') => true,
        (b'?', b'n') => matches!(numbers, b"6" | b"996"),
        // The kitty keyboard protocol, and xterm's keys with modifiers.
        (b'?' | b'>' | b'<' | b'=', b'u') => true,
        (b'>', b'm' | b'n') => true,
        (b'?', b'm') => true,
        // Which terminal is this?
        (b'>', b'c' | b'q') => matches!(numbers, b"" | b"0"),
        _ => false,
    }
}

fn modes_pass(numbers: &[u8]) -> bool {
    let known = |number: &[u8]| {
        let number = std::str::from_utf8(number).ok().and_then(|n| n.parse::<u16>().ok());
        number.is_some_and(|n| MODES.contains(&n))
    };
    !numbers.is_empty() && numbers.split(|b| *b == b';').all(known)
}

/// The cursor's shape, a soft reset, whether a mode is known, protected characters, and the stack of colours.
fn between_passes(mark: Option<u8>, between: u8, last: u8) -> bool {
    match between {
        b' ' => mark.is_none() && b"q@A".contains(&last),
        b'!' => mark.is_none() && last == b'p',
        b'$' => matches!(mark, None | Some(b'?')) && last == b'p',
        b'"' => mark.is_none() && last == b'q',
        b'#' => mark.is_none() && b"pq{}".contains(&last),
        _ => false,
    }
}
