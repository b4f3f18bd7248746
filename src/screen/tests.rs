use super::*;
use proptest::prelude::*;

fn filtered(clipboard: Clipboard, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut filter, mut out) = (Filter::new(clipboard), Vec::new());
    pieces.iter().for_each(|piece| filter.feed(piece, &mut out));
    out
}

fn passes(bytes: &[u8]) -> bool {
    filtered(Clipboard::Deny, &[bytes]) == bytes
}

#[test]
fn what_programs_say_passes_unchanged() {
    let said: &[&[u8]] = &[
        b"plain text\r\n\ttab \x08 bell \x07 \x0e\x0f\x7f\0",
        "\u{fc}\u{2500}\u{1f600} \u{a0}".as_bytes(),
        b"latin \xfc\xe4 and halves \xe2\xff\xf0 ",
        b"\x1b[31;1mred\x1b[0m\x1b[38:2::1:2:3m\x1b[2J\x1b[H\x1b[12;3f\x1b[?25l\x1b[?25h\x1b7\x1b8\x1bM\x1b=\x1b>\x1bc",
        b"\x1b[?1049h\x1b[?1000;1002;1006h\x1b[?2004h\x1b[?1004h\x1b[?2031h\x1b[?2026h\x1b[?2026l",
        b"\x1b[>1u\x1b[<u\x1b[?u\x1b[=1;1u\x1b[>4;2m\x1b[>4m\x1b[c\x1b[>c\x1b[>0q\x1b[6n\x1b[?996n\x1b[?2026$p\x1b[14t\x1b[22;0t",
        b"\x1b[4h\x1b[4l\x1b[34h\x1b[34l",
        b"\x1b(B\x1b)0\x1b#8\x1b[4 q\x1b[!p\x1b[1\"q\x1b[3;20r\x1b[5b\x1b\\",
        b"\x1b]0;title\x07\x1b]2;t\xc3\xbcr\x1b\\\x1b]8;id=1;https://example.com/?a=b\x1b\\link\x1b]8;;\x1b\\\x1b]8;;\x07",
        b"\x1b]11;?\x07\x1b]10;?;?\x1b\\\x1b]4;1;?;2;#ff0000\x07\x1b]11;rgb:00/11/22\x07\x1b]104;255\x07\x1b]104\x07\x1b]111\x07",
        b"\x1b]9;done: all well\x07\x1b]9;4;3;\x07\x1b]777;notify;a;b\x07\x1b]99;i=7:d=0:p=title;Hi\x1b\\\x1b]99;i=7:d=1:a=focus;\x1b\\",
        b"\x1b]133;A;redraw=0\x07\x1b]133;C\x07\x1b]21337;indicator=;status=;status-color=\x07",
    ];
    for bytes in said {
        let got = filtered(Clipboard::Deny, &[bytes]);
        assert_eq!(got.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }
}

/// Each with what is left of it.
const HOSTILE: &[(&[u8], &[u8])] = &[
    (b"a\x05b", b"ab"),                                      // answer-back
    (b"a\x1b[21tb", b"ab"),                                  // the window's title, typed
    (b"a\x1b[20tb", b"ab"),                                  // the icon's
    (b"a\x1b[2\n1tb", b"a\n1tb"),                            // the same, with a control inside
    (b"a\x1b[?21tb", b"ab"),                                 //
    (b"a\x1b[8;1;1t\x1b[2t\x1b[11tb", b"ab"),                // windows moved, closed, told
    (b"a\x1bP$qm\x1b\\b", b"ab"),                            // DECRQSS
    (b"a\x1bP+q544e\x1b\\b", b"ab"),                         // XTGETTCAP
    (b"a\x1bP1;1|17/6c730d\x1b\\b", b"ab"),                  // DECUDK: keys that type
    (b"a\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\\b", b"a\x1b\\b"), // through tmux to the terminal around it
    (b"a\x1bP@kitty-cmd{}\x1b\\b", b"ab"),                   // kitty's remote control
    (b"a\x1b_Ga=T,t=f;L2V0Yw==\x1b\\b", b"ab"),              // kitty's graphics, from a file
    (b"a\x1b^pm\x1b\\\x1bXsos\x1b\\b", b"ab"),               //
    (b"a\x1b]52;c;?\x07b", b"ab"),                           // the clipboard, typed
    (b"a\x1b]52;c;aGk=\x07b", b"ab"),                        // the clipboard, written
    (b"a\x1b]50;?\x07\x1b]7;file:///x\x07\x1b]1337;File=:AA\x07\x1b]5113;ac=send\x07b", b"ab"),
    (b"a\x1b]9;7;\"cmd\"\x07\x1b]9;6;\"m\"\x07\x1b]9;5\x07b", b"ab"), // ConEmu's programs
    (b"a\x1b]99;i=x:p=?;\x07\x1b]99;i=x:a=report;\x07\x1b]99;i=x:c=1;t\x07b", b"ab"),
    (b"a\x1b]4;rm -rf;?\x07\x1b]4;1;? x\x07\x1b]21;foreground=?\x07b", b"ab"), // reflected colours
    (b"a\x1b]8;;file:///etc/passwd\x07x\x1b]8;;\x07b", b"ax\x1b]8;;\x07b"),
    (b"a\x1b]8;;javascript:x\x07b", b"ab"),
    (b"a\x1b]0;x\x00y\x07b", b"ab"),
    (b"a\x1b]0;x\xc2\x9cy\x07b", b"ab"),
    (b"a\x1b]633;E;x\x07\x1b]3008;start\x07\x1b]66;s=2;x\x07b", b"ab"),
    (b"a\x1bZ\x1b[=c\x1b[x\x1b[5i\x1b[4ib", b"ab"), // identification, parameters, the printer
    (b"a\x1b[1;1;1;1;1;1*yb", b"ab"),               // checksums of the screen
    (b"a\x1b[?15n\x1b[?62n\x1b[?63;1n\x1b[1$w\x1b[?26nb", b"ab"),
    (b"a\x1b%@\x1b%G\x1b G\x1b[62\"pb", b"ab"), // other codings, eight-bit answers
    (b"a\x1b[?2lb", b"ab"),                     // VT52
    (b"a\x1b[?25;2lb", b"ab"),                  //
    (b"a\x1b[?5522hb", b"ab"),                  //
    (b"a\x1bktitle\x1b\\b", b"atitle\x1b\\b"),  // screen's title
    (b"a\x9b21tb", b"a21tb"),                   // eight-bit controls are no controls
    (b"a\xc2\x9b21tb", b"a21tb"),
    (b"a\x9d52;c;?\x07b", b"a52;c;?\x07b"),
    (b"a\xc2\x9d52;c;?\x9cb", b"a52;c;?b"),
    (b"a\xc2\x90$qm\xc2\x9cb", b"a$qmb"),
    (b"a\xe2\x9b\x9bb \xe2\x9b!", b"a\xe2\x9b\x9bb \xe2!"), // but parts of characters
    (b"a\x1b]P1ff0000b", b"ab"),                            // the console's palette
    (b"a\x1b]Rb", b"ab"),
    (b"a\x1b]0;never ended\x1b[1mb", b"a\x1b[1mb"),
    (b"a\x1b]0;stopped\x18b\x1b[3\x1ac", b"abc"),
    (b"a\x1b[<0;1;1Mb", b"ab"),                       // a mouse's words are not for a terminal
    (b"a\x1b[2hb\x1b[12l\x1b[20h\x1b[4;2hc", b"abc"), // keys locked, echoed, with line feeds
    (b"a\x1b[1?hb", b"ab"),
    (b"a\x1b[1 2hb", b"ab"),
];

#[test]
fn what_types_into_the_shell_does_not_pass() {
    for (bytes, left) in HOSTILE {
        let got = filtered(Clipboard::Deny, &[bytes]);
        assert_eq!(got.escape_ascii().to_string(), left.escape_ascii().to_string(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn whatever_the_cut_the_result_is_the_same() {
    for (bytes, left) in HOSTILE {
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            assert_eq!(filtered(Clipboard::Deny, &[a, b]), *left, "{} at {cut}", bytes.escape_ascii());
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(filtered(Clipboard::Deny, &single), *left);
    }
}

#[test]
fn a_copy_follows_the_configuration_and_reading_never_passes() {
    let copy = b"\x1b]52;c;aGVsbG8=\x07";
    let (mut filter, mut out) = (Filter::new(Clipboard::Deny), Vec::new());
    filter.feed(copy, &mut out);
    assert_eq!((out.len(), filter.denied_copies()), (0, 1));
    assert_eq!(filtered(Clipboard::Allow, &[copy]), copy);
    assert_eq!(filtered(Clipboard::Allow, &[b"\x1b]52;c;?\x07\x1b]52;c;a?\x07\x1b]52;;\x1b[1m"]), b"\x1b[1m");
    let large = [b"\x1b]52;c;".as_slice(), &vec![b'A'; 900 << 10], b"\x1b\\"].concat();
    assert!(filtered(Clipboard::Allow, &[&large]) == large, "as long as a long answer");
}

#[test]
fn memory_is_bounded() {
    let (mut filter, mut out) = (Filter::new(Clipboard::Allow), Vec::new());
    for start in [b"\x1b[".as_slice(), b"\x1b]0;", b"\x1b]52;c;", b"\x1bP", b"\x1b(", b"\x1b]"] {
        filter.feed(start, &mut out);
        for _ in 0..50 {
            filter.feed(&[b'1'; 100_000], &mut out);
            assert!(filter.held.len() <= COPY + 1, "{}", filter.held.len());
        }
        filter.feed(b"\x18\x1b\\", &mut out);
    }
    assert!(passes(b"\x1b[1m"));
}

/// Bytes as an attacker would choose them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"\x1b[".to_vec()),
        Just(b"\x1b]".to_vec()),
        Just(b"\x1bP".to_vec()),
        Just(b"\x1b".to_vec()),
        Just(b"\x1b\\".to_vec()),
        Just(b"\xc2\x9b".to_vec()),
        Just(b"52;c;?".to_vec()),
        Just(b"21t".to_vec()),
        proptest::sample::select(HOSTILE).prop_map(|(bytes, _)| bytes.to_vec()),
        any::<u8>().prop_map(|b| vec![b]),
        "[0-9;?<=>:$ ]{0,4}[@-~]".prop_map(String::into_bytes),
        proptest::sample::select(&[5u8, 7, 0x18, 0x1a, 0x1b, 0x7f, 0x80, 0x9b, 0x9c, 0x9d, 0xc2, 0xe2][..])
            .prop_map(|b| vec![b]),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn cuts_do_not_matter(bytes in bytes(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(filtered(Clipboard::Deny, &pieces), filtered(Clipboard::Deny, &[&bytes]));
    }

    #[test]
    fn what_passed_passes_again(bytes in bytes()) {
        let once = filtered(Clipboard::Allow, &[&bytes]);
        // The full stop shows that it ends outside of everything.
        let twice = filtered(Clipboard::Allow, &[&once, b"."]);
        prop_assert_eq!(once.escape_ascii().to_string() + ".", twice.escape_ascii().to_string());
    }

    /// Another parser, which also knows eight-bit controls, sees nothing but what is allowed.
    #[test]
    fn another_parser_sees_no_question(bytes in bytes()) {
        let out = filtered(Clipboard::Deny, &[&bytes]);
        let mut seen = Seen::default();
        vte::Parser::new().advance(&mut seen, &out);
        prop_assert!(seen.0.is_empty(), "{:?} in {}", seen.0, out.escape_ascii());
    }
}

/// What another parser makes of it: everything that could answer, in words.
#[derive(Default)]
struct Seen(Vec<String>);

impl vte::Perform for Seen {
    fn execute(&mut self, byte: u8) {
        if byte == ENQ || byte >= 0x80 {
            self.0.push(format!("control {byte:#x}"));
        }
    }

    fn hook(&mut self, _: &vte::Params, _: &[u8], _: bool, action: char) {
        self.0.push(format!("DCS {action}"));
    }

    fn osc_dispatch(&mut self, words: &[&[u8]], _: bool) {
        let number = words.first().copied().unwrap_or_default();
        let asks = words.iter().skip(1).any(|w| w.starts_with(b"?"));
        let may_ask: [&[u8]; 8] = [b"0", b"1", b"2", b"4", b"10", b"11", b"12", b"9"];
        let known: [&[u8]; 9] = [b"8", b"99", b"104", b"110", b"111", b"112", b"133", b"777", b"21337"];
        if !known.contains(&number) && !may_ask.contains(&number) || asks && !may_ask.contains(&number) {
            self.0.push(format!("OSC {}", number.escape_ascii()));
        }
    }

    fn csi_dispatch(&mut self, params: &vte::Params, between: &[u8], _: bool, action: char) {
        let first = params.iter().next().and_then(|p| p.first().copied()).unwrap_or(0);
        let bad = match (between, action) {
            ([], 't') => ![14, 16, 18, 19, 22, 23].contains(&first),
            (_, 'i' | 'x' | 'y' | 'w' | 'R') => true,
            (b"?", 'h' | 'l') => [2, 5522].contains(&first),
            (b"?", 'n') => ![6, 996].contains(&first),
            _ => false,
        };
        if bad {
            self.0.push(format!("CSI {between:?} {first} {action}"));
        }
    }

    fn esc_dispatch(&mut self, between: &[u8], _: bool, byte: u8) {
        if between == b"%" || between.is_empty() && b"ZPX^_k".contains(&byte) {
            self.0.push(format!("ESC {between:?} {byte}"));
        }
    }
}
