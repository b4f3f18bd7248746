//! What Claude Code writes to terminals passes the filter of the screen unchanged: on recorded bytes of real sessions, not on
//! screens alone.

use crate::host;
use crate::pane::Pane;
use crate::steps::STEPS;
use crate::support::api::Api;
use crate::support::{Who, World, full, leaks, until};
use vmclaude::screen::{Clipboard, Filter};

/// What does not pass; docs/terminal.md has the reasons. Whether the terminal lists what its programs do, and whether it shows
/// kitty's pictures.
const DROPPED: &[&[u8]] = &[b"\x1b]7501;?\x07", b"\x1b]7501;?\x1b\\", b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"];

/// A terminal by the variables that it sets; Claude Code writes to each what it takes it to know.
const TERMINALS: &[(&str, &[&str])] = &[
    ("xterm", &["TERM=xterm-256color"]),
    ("kitty", &["TERM=xterm-kitty", "KITTY_WINDOW_ID=1"]),
    ("iTerm", &["TERM=xterm-256color", "TERM_PROGRAM=iTerm.app", "TERM_PROGRAM_VERSION=3.5.0", "LC_TERMINAL=iTerm2"]),
    ("ghostty", &["TERM=xterm-ghostty", "TERM_PROGRAM=ghostty", "TERM_PROGRAM_VERSION=1.2.0"]),
    ("vscode", &["TERM=xterm-256color", "TERM_PROGRAM=vscode", "TERM_PROGRAM_VERSION=1.105.0"]),
    ("WezTerm", &["TERM=xterm-256color", "TERM_PROGRAM=WezTerm", "TERM_PROGRAM_VERSION=20240203"]),
    ("Terminal", &["TERM=xterm-256color", "TERM_PROGRAM=Apple_Terminal", "TERM_PROGRAM_VERSION=455"]),
];

/// Panics when anything but what is listed does not pass.
#[track_caller]
pub(crate) fn assert_passes(name: &str, bytes: &[u8]) {
    let mut wanted = Vec::new();
    let (mut rest, mut dropped) = (bytes, 0);
    while !rest.is_empty() {
        match DROPPED.iter().find(|drop| rest.starts_with(drop)) {
            Some(drop) => {
                dropped += 1;
                rest = &rest[drop.len()..];
            }
            None => {
                wanted.push(rest[0]);
                rest = &rest[1..];
            }
        }
    }
    let (mut filter, mut out) = (Filter::new(Clipboard::Deny), Vec::new());
    filter.feed(bytes, &mut out);
    let at = wanted.iter().zip(&out).position(|(a, b)| a != b).unwrap_or(wanted.len().min(out.len()));
    let near = |bytes: &[u8]| {
        bytes[at.saturating_sub(60).min(bytes.len())..bytes.len().min(at + 60)].escape_ascii().to_string()
    };
    assert!(wanted == out, "{name}: from byte {at}:\nwanted {}\npassed {}", near(&wanted), near(&out));
    assert!(bytes.len() > 3000, "{name}: {} bytes are no session", bytes.len());
    println!("{name}: {} bytes pass, {dropped} questions do not", bytes.len());
}

#[test]
fn what_it_writes_to_terminals_passes_the_filter() {
    if let Some(missing) = host::missing() {
        println!("skipped session::terminals::what_it_writes_to_terminals_passes_the_filter: {missing}");
        return;
    }
    let world = World::new(Who::Current);
    let api = Api::new(&world.root);
    // The first two always; the others write a part of what those do.
    for (name, variables) in &TERMINALS[..if full() { TERMINALS.len() } else { 2 }] {
        let unset = ["-u", "TMUX", "-u", "TMUX_PANE", "-u", "TERM_PROGRAM", "-u", "TERM_PROGRAM_VERSION"];
        let mut words = vec!["env"];
        words.extend(unset.iter().chain(*variables));
        let pane = Pane::new(&world, name, &host::shell(&world, &format!("on {name}"), &api, &words), &[]);
        for step in STEPS {
            pane.step(step);
        }
        assert_passes(name, &pane.end());
    }
    until("the last shell has ended", || leaks::processes(&world).is_empty().then_some(()));
    world.assert_clean();
}
