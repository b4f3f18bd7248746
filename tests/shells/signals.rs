//! What the host's claude inherits through the shim is what it would inherit without it.

use crate::world::World;

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
