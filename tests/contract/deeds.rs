//! What the program does, and what is done to it.

use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It exits with this code, after some words on stdout and stderr.
    Exits(u8),
    /// It kills itself by the signal with this number.
    Dies(i32),
    /// It gets this signal, which it catches or not.
    Gets(Signal, bool),
    /// It reads to the end.
    ReadsAll,
    /// It says which of its descriptors are open.
    Descriptors,
    /// It writes for ever, and its reader goes away.
    ReaderGone,
    /// A hundred megabytes go in and come out.
    Hundred,
    /// Its reader is slow.
    SlowReader,
    /// It fills its pipe and exits before anybody reads.
    FullPipe,
    /// A million short lines.
    Lines,
    /// Bytes that are no text, both ways.
    NoText,
    /// Arguments that hold every byte.
    Arguments,
    /// One argument of 128 KiB, which is as long as one may be.
    LongArgument,
    /// It has the terminal, and this key is pressed; it catches the signal or not.
    Key(char, bool),
    /// It is stopped by a key, and continued.
    StopsAndGoesOn,
    /// It waits, and the window is closed.
    Closed,
    /// The window is closed, and whoever leads the session keeps it from the program, which finds out.
    HungUp,
    /// It reads lines from the terminal.
    TypesLines,
    /// Keys are pressed that it does not read.
    TypedAhead,
    /// It is killed by the signal that cannot be caught, while the terminal is in every mode there is.
    Killed,
    /// The window changes its size, very often.
    Resized,
    /// A megabyte is pasted.
    Pasted,
    /// It asks the terminal questions.
    Asks,
    /// Somebody turns its pages.
    Paged,
}

/// Says that it runs, and waits. Not by bash, which ignores SIGQUIT until it has become another program.
const WAITS: &str = "exec sh -c ': >ready; exec sleep 1000'";

impl Deed {
    /// The script that does it.
    pub(crate) fn script(&self) -> String {
        let caught =
            |signal: &str| format!("trap 'echo got {signal}; exit 3' {signal}; : >ready; while :; do sleep 0.05; done");
        match self {
            Deed::Exits(n) => format!("echo out; echo err >&2; exit {n}"),
            Deed::Dies(n) => format!("echo out; kill -{n} $$; exit 9"),
            Deed::Gets(signal, true) => caught(&signal.as_str()[3..]),
            Deed::Gets(..) | Deed::Closed => WAITS.into(),
            Deed::ReadsAll => "cat; echo EOF; exit 4".into(),
            Deed::Descriptors => {
                "for n in 0 1 2; do [ -e /proc/self/fd/$n ] && f=$f$n; done; echo \"open: $f\" >files; echo x; exit $?"
                    .into()
            }
            Deed::ReaderGone => "exec yes".into(),
            Deed::Paged => "exec seq 1000000".into(),
            Deed::Hundred => "cat".into(),
            Deed::SlowReader => "seq 200000; exit 5".into(),
            Deed::FullPipe => "head -c 60000 /dev/zero; exit 6".into(),
            Deed::Lines => "exec seq 1000000".into(),
            Deed::NoText => r"printf '\0\377\376\303\n'; cat; printf '\0' >&2".into(),
            Deed::Arguments | Deed::LongArgument => r#"printf '%s\0' "$@" | sha256sum; echo $#"#.into(),
            Deed::Key(key, true) => caught(if *key == '\x03' { "INT" } else { "QUIT" }),
            Deed::Key(_, false) => "exec sh -c ': >ready; exec cat </dev/tty'".into(),
            Deed::StopsAndGoesOn => ": >ready; read x </dev/tty; echo \"got <$x>\"; exit 8".into(),
            // Whoever reads hears of it a moment before whoever writes.
            Deed::HungUp => r#"exec 2>/dev/null 3>seen; trap "echo HUP >&3" HUP; : >ready
                read x </dev/tty; echo "read $?" >&3; echo x; w=$? i=0
                until [ $w != 0 ] || [ $((i += 1)) = 500 ]; do sleep 0.01; echo x; w=$?; done
                echo "write $w" >&3; stty size <&1; echo "size $?" >&3
                (: >/dev/tty); echo "open $?" >&3; [ -t 1 ]; echo "terminal $?" >&3; cut -d" " -f7 /proc/$$/stat >&3
                head -c 1 <&1; echo "again $?" >&3; mv seen files; exit 5"#
                .into(),
            Deed::TypesLines => ": >ready; for i in 1 2 3; do read x </dev/tty; echo \"got <$x>\"; done; exit 2".into(),
            Deed::TypedAhead => {
                "read x </dev/tty; echo \"got <$x>\"; : >ready; until [ -e go ]; do sleep 0.05; done".into()
            }
            Deed::Killed => {
                r"printf '\033[?1049h\033[?1000h\033[?2004h\033[>1u\033[?25l'; : >ready; exec sleep 1000".into()
            }
            Deed::Resized => {
                "trap 's=$(stty size </dev/tty); [ \"$s\" = \"23 71\" ] && echo \"size $s\" && exit 0' WINCH
                 : >ready; while :; do sleep 0.05; done"
                    .into()
            }
            Deed::Pasted => r#"printf '\033[?2004h'; s=$(stty -g </dev/tty); stty raw -echo </dev/tty; : >ready
                head -c $((1048576 + 12)) </dev/tty | sha256sum; stty "$s" </dev/tty; printf '\033[?2004l'"#
                .into(),
            Deed::Asks => {
                r#"s=$(stty -g </dev/tty); stty raw -echo </dev/tty; printf '\033[c\033[>0q\033[?u\033[6n'; : >ready
                head -c 31 </dev/tty | od -An -c; stty "$s" </dev/tty"#
                    .into()
            }
        }
    }

    /// The script's arguments.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        match self {
            Deed::Arguments => {
                let each = (1..=255).map(|byte| OsString::from_vec(vec![byte]));
                let odd = ["", "--help", "--dry-run", "-h", "--", "\u{fc}"].map(OsString::from);
                each.chain(odd).chain([OsString::from_vec((1..=255).collect())]).collect()
            }
            Deed::LongArgument => vec![OsString::from_vec(vec![b'x'; (128 << 10) - 1])],
            _ => Vec::new(),
        }
    }

    /// What is at its stdin, where that is a pipe.
    pub(crate) fn stdin(&self) -> Vec<u8> {
        match self {
            Deed::Hundred => noise(100 << 20),
            Deed::NoText => (0..=255).chain(*b"\xff\xfe\x00\xc3").collect(),
            Deed::ReadsAll => b"abc".to_vec(),
            _ => Vec::new(),
        }
    }
}

/// Bytes without a pattern, of any length, the same each time.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
