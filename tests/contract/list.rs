//! The list: which deeds are seen in which setting.

use crate::deeds::Deed;
use crate::engine::Engine;
use crate::settings::Setting;
use crate::support::full;
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

/// The deeds of this setting: all of them with `tests/run --full`, or this run's share, else those that cover.
pub(crate) fn of(engine: Engine, setting: Setting) -> Vec<Deed> {
    let all = chosen(engine, setting, full());
    match share().filter(|_| full()) {
        // In each setting others.
        Some((nth, of)) => all.into_iter().skip((nth + setting as usize) % of).step_by(of).collect(),
        None => all,
    }
}

/// Whoever has not the hours takes a share of the product: `VMCLAUDE_TESTS_SHARE=3/16`.
#[allow(clippy::disallowed_methods)] // Host is for the program; this is a switch of the tests
fn share() -> Option<(usize, usize)> {
    let text = std::env::var("VMCLAUDE_TESTS_SHARE").ok()?;
    let (nth, of) = text.split_once('/')?;
    Some((nth.parse().ok()?, of.parse().ok().filter(|of| *of > 0)?))
}

/// Whether this run takes only a share.
pub(crate) fn is_shared() -> bool {
    full() && share().is_some()
}

/// How many cases there are.
pub(crate) fn count(engine: Engine, full: bool) -> usize {
    Setting::ALL.iter().map(|s| chosen(engine, *s, full).len()).sum()
}

/// The double's machines are booted, never copied: there the covering part is what takes hours.
fn chosen(engine: Engine, setting: Setting, full: bool) -> Vec<Deed> {
    let all = everything().into_iter().filter(|deed| setting.allows(deed));
    let wanted = |deed: &Deed| match engine {
        Engine::Apple => covers(setting, deed) && (full || differs(setting, deed)),
        Engine::Host | Engine::Linux => full || covers(setting, deed),
    };
    all.filter(wanted).collect()
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
        Deed::HungUp,
        Deed::TypesLines,
        Deed::TypedAhead,
        Deed::Killed,
        Deed::Resized,
        Deed::Pasted,
        Deed::Asks,
        Deed::Paged,
    ]);
    all
}

/// Every deed in its plainest setting, and in each setting what is special to it.
fn covers(setting: Setting, deed: &Deed) -> bool {
    match (setting, deed) {
        (Setting::Pipes, Deed::Exits(n)) => [0, 1, 3, 64, 78, 125, 126, 127, 128, 143, 255].contains(n),
        (Setting::Pipes, Deed::Dies(n)) => [1, 6, 9, 11, 13, 15, 17, 25, 34, 64].contains(n),
        (Setting::Pipes, _) => true,
        (Setting::MakeTyped | Setting::XargsTyped | Setting::Pipeline, Deed::Dies(_) | Deed::Descriptors) => false,
        (Setting::MakeTyped | Setting::XargsTyped | Setting::Pipeline, Deed::Key(key, _)) => *key == '\x03',
        (_, Deed::Exits(n)) => *n == 7,
        (_, Deed::Dies(n)) => [2, 9].contains(n),
        (Setting::Terminal, Deed::Gets(signal, _)) => [Signal::SIGTERM, Signal::SIGTSTP].contains(signal),
        (Setting::Nohup, Deed::Gets(Signal::SIGHUP, _)) => true,
        (Setting::Background, Deed::Gets(Signal::SIGTERM, true)) => true,
        (_, Deed::Gets(..)) => false,
        (Setting::Terminal, _) => true,
        (_, Deed::Descriptors | Deed::ReadsAll | Deed::Key(_, false) | Deed::TypesLines | Deed::Paged) => true,
        (Setting::Ssh, Deed::Closed) => true,
        (Setting::Mixed, Deed::TypedAhead | Deed::StopsAndGoesOn | Deed::HungUp) => true,
        _ => false,
    }
}

/// Where another carrier of the same wire could make a difference: how streams begin and end, signals, what is ours of the
/// terminal. What goes on in the guest's terminal is the same supervisor's.
fn differs(setting: Setting, deed: &Deed) -> bool {
    match (setting, deed) {
        (Setting::Pipes, Deed::Exits(n)) => [0, 125, 255].contains(n),
        (Setting::Pipes, Deed::Dies(n)) => [9, 11].contains(n),
        (Setting::Pipes, Deed::Gets(signal, caught)) => [Signal::SIGINT, Signal::SIGTERM].contains(signal) && *caught,
        (Setting::Pipes, Deed::Hundred | Deed::SlowReader | Deed::Lines | Deed::LongArgument) => false,
        (Setting::Pipes, _) => true,
        (Setting::Terminal, Deed::Key(key, caught)) => *key == '\x03' && !caught,
        (Setting::Terminal, Deed::StopsAndGoesOn | Deed::Closed | Deed::HungUp | Deed::Killed | Deed::Resized) => true,
        (Setting::Mixed, Deed::TypedAhead) => true,
        (Setting::XargsTyped, Deed::Exits(_)) => true,
        (Setting::MakeTyped | Setting::Pipeline, Deed::Key(_, caught)) => !caught,
        (Setting::Terminal | Setting::MakeTyped | Setting::Pipeline | Setting::XargsTyped, _) => false,
        (_, Deed::Descriptors | Deed::Paged) => true,
        _ => false,
    }
}
