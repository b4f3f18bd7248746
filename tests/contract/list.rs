//! The list: which deeds are seen in which setting.

use crate::deeds::Deed;
use crate::settings::Setting;
use nix::sys::signal::Signal;

/// Signals that somebody may send us.
const SENT: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// The deeds of this setting: all of them with `tests/run --full`, else those that cover.
pub(crate) fn of(setting: Setting) -> Vec<Deed> {
    chosen(setting, full())
}

#[allow(clippy::disallowed_methods)] // Host is for the program
fn full() -> bool {
    std::env::var_os("VMCLAUDE_TESTS").is_some_and(|v| v == "full")
}

/// How many cases there are.
pub(crate) fn count(full: bool) -> usize {
    Setting::ALL.iter().map(|s| chosen(*s, full).len()).sum()
}

fn chosen(setting: Setting, full: bool) -> Vec<Deed> {
    let all = everything().into_iter().filter(|deed| setting.allows(deed));
    all.filter(|deed| full || covers(setting, deed)).collect()
}

/// Every deed that makes sense somewhere.
fn everything() -> Vec<Deed> {
    let mut all: Vec<Deed> = (0..=255).map(Deed::Exits).collect();
    // Without those that stop, and the two numbers that the C library keeps for itself.
    let stop = [Signal::SIGSTOP, Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU].map(|s| s as i32);
    all.extend((1..=64).filter(|n| !stop.contains(n) && ![32, 33].contains(n)).map(Deed::Dies));
    all.extend(SENT.iter().flat_map(|s| [Deed::Gets(*s, true), Deed::Gets(*s, false)]));
    all.extend(['\x03', '\x1c'].iter().flat_map(|k| [Deed::Key(*k, true), Deed::Key(*k, false)]));
    all.extend([
        Deed::ReadsAll,
        Deed::Descriptors,
        Deed::ReaderGone,
        Deed::Hundred,
        Deed::SlowReader,
        Deed::FullPipe,
        Deed::Lines,
        Deed::NoText,
        Deed::Arguments,
        Deed::LongArgument,
        Deed::StopsAndGoesOn,
        Deed::Closed,
        Deed::TypesLines,
        Deed::TypedAhead,
        Deed::Killed,
        Deed::Resized,
        Deed::Pasted,
        Deed::Asks,
    ]);
    all
}

/// Every deed in its plainest setting, and in each setting what is special to it.
fn covers(setting: Setting, deed: &Deed) -> bool {
    match (setting, deed) {
        (Setting::Pipes, Deed::Exits(n)) => [0, 1, 3, 64, 78, 125, 126, 127, 128, 143, 255].contains(n),
        (Setting::Pipes, Deed::Dies(n)) => [1, 6, 9, 11, 13, 15, 17, 25, 34, 64].contains(n),
        (Setting::Pipes, _) => true,
        (_, Deed::Exits(n)) => *n == 7,
        (_, Deed::Dies(n)) => [2, 9].contains(n),
        (Setting::Terminal, Deed::Gets(signal, _)) => [Signal::SIGTERM, Signal::SIGTSTP].contains(signal),
        (Setting::Nohup, Deed::Gets(Signal::SIGHUP, _)) => true,
        (Setting::Background, Deed::Gets(Signal::SIGTERM, true)) => true,
        (_, Deed::Gets(..)) => false,
        (Setting::Terminal, _) => true,
        (_, Deed::Descriptors | Deed::ReadsAll | Deed::Key(_, false) | Deed::TypesLines) => true,
        (Setting::Ssh, Deed::Closed) => true,
        (Setting::Mixed, Deed::TypedAhead | Deed::StopsAndGoesOn) => true,
        _ => false,
    }
}
