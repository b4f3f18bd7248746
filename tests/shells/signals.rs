//! What the host's claude inherits through the shim is what it would inherit without it.

use crate::world::World;
use clap::Parser;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use vmclaude::cli::args::{Verb, Vmclaude};

/// Starts the rest of the line with some dispositions and descriptors.
const WRAPPERS: [&str; 5] = [
    r#"exec "$@""#,
    r#"trap '' PIPE; exec "$@""#,
    r#"trap '' HUP INT; exec "$@""#,
    r#"exec "$@" <&-"#,
    r#"exec "$@" 7</dev/null 2>&-"#,
];

#[test]
fn signals_masks_and_descriptors_are_untouched() {
    let world = World::new();
    for wrapper in WRAPPERS {
        for what in ["status", "fds"] {
            let run = |program: &str| {
                let script = format!(r#"cd "$O"; set -- "{program}" {what}; {wrapper}"#);
                world.run(world.shell(&["sh", "-c"]).arg(script)).out
            };
            let (direct, routed) = (run("$H/claude"), run("$S/shims/claude"));
            assert!(!direct.is_empty());
            assert_eq!(direct, routed, "{wrapper} {what}");
            assert_eq!(direct, run("$S/wrapper\" \"$H/claude"), "as an editor's: {wrapper} {what}");
        }
    }
}

#[test]
fn the_shim_is_a_file_of_its_own_and_never_a_link() {
    let world = World::new();
    let meta = world.state.join("shims/claude").symlink_metadata().expect("there");
    // A dangling link would be skipped by the shell, which then finds the host's claude.
    assert!(meta.is_file());
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&meta) & 0o7777, 0o755);
}

#[test]
fn what_the_shim_hands_over_reaches_claude_byte_for_byte() {
    let odd = OsString::from_vec(vec![b'-', 0xff]);
    for words in [
        &[][..],
        &["a", "b c", ""],
        &["--", "x"],
        &["--state", "x"],
        &["--help"],
        &["-p", "--", "--"],
        &["--version", "--state=y", "help"],
    ] {
        let words: Vec<OsString> = words.iter().map(OsString::from).chain([odd.clone()]).collect();
        let typed = ["vmclaude", "route", "--state", "/s", "--"].iter().map(OsString::from).chain(words.clone());
        let Verb::Route(route) = Vmclaude::try_parse_from(typed).expect("our own words").verb else { panic!("route") };
        assert_eq!((route.args, route.state.state), (words, Some(PathBuf::from("/s"))));
    }
}
