//! Which claude is the host's: none, wrappers that look for claude themselves, version managers.

use crate::world::World;

#[test]
fn without_a_host_claude_there_is_one_message() {
    if ["/usr/local/bin/claude", "/opt/homebrew/bin/claude"].iter().any(|p| std::path::Path::new(p).exists()) {
        println!("skipped without_a_host_claude_there_is_one_message: this machine has one where everybody looks");
        return;
    }
    let world = World::new();
    std::fs::remove_file(world.path("bin/claude")).expect("rm");
    let done = world.shim::<&str>("out", &[]);
    assert_eq!((done.code, done.out.as_str()), (127, ""), "{}", done.err);
    assert!(done.err.contains("no claude on this host"));
}

/// What version managers put first on PATH: scripts and links to one program, that find the version by themselves, by a PATH
/// without their own directory, or by one with the version's in front.
#[test]
fn the_shims_of_version_managers_work() {
    let world = World::new();
    for dir in ["vm", "vm/shims", "vm/versions", "vm/bin"] {
        std::fs::create_dir(world.path(dir)).expect("mkdir");
    }
    world.program("vm/versions/claude", "#!/bin/sh\nprintf VERSION\nprintf ' [%s]' \"$@\"\necho\n");
    let run = |dir: &str| {
        let path = r#"PATH="$S/shims:$W/vm/shims:$W/tools"; export PATH; cd "$W/$0" && exec claude 'a b' '*'"#;
        world.run(world.shell(&["sh", "-c"]).arg(path).arg(dir))
    };
    let prefix = r#"#!/bin/sh
        case ${0##*/} in claude) ;; *) echo "BAD NAME $0"; exit 1 ;; esac
        "#;
    for (kind, text) in [
        ("by its path", r#"exec "$W/vm/versions/claude" "$@""#),
        ("in front", r#"PATH="$W/vm/versions:$PATH" exec claude "$@""#),
        ("in front, by env", r#"exec env PATH="$W/vm/versions:$PATH" claude "$@""#),
        ("in place of its own", r#"PATH="$S/shims:$W/vm/versions:$W/tools" exec claude "$@""#),
        ("a child of its own", r#"PATH="$S/shims:$W/vm/versions:$W/tools" claude "$@"; exit $?"#),
    ] {
        world.program("vm/bin/manager", &format!("{prefix}{text}\n"));
        for link in [true, false] {
            let shim = world.path("vm/shims/claude");
            let _ = std::fs::remove_file(&shim);
            match link {
                true => std::os::unix::fs::symlink("../bin/manager", &shim).expect("ln"),
                false => std::fs::copy(world.path("vm/bin/manager"), &shim).map(drop).expect("cp"),
            }
            let done = run("out");
            assert_eq!((done.out.as_str(), done.code), ("VERSION [a b] [*]\n", 0), "{kind}: {done:?}");
            let done = run("tr ee");
            assert_eq!((done.out.as_str(), done.code), ("VM [a b] [*]\n", 0), "{kind}: {done:?}");
        }
    }
}

#[test]
fn a_wrapper_that_looks_on_path_again_ends() {
    let world = World::new();
    for dir in ["w1", "w2"] {
        std::fs::create_dir(world.path(dir)).expect("mkdir");
    }
    // One that execs comes back in the same process: the next candidate is taken.
    world.program("w1/claude", "#!/bin/sh\nexec claude \"$@\"\n");
    let run =
        |dir: &str| world.script(&["bash"], &format!(r#"cd "$O"; PATH="$S/shims:$W/{dir}:$PATH" "$S/shims/claude" x"#));
    let done = run("w1");
    assert_eq!(done.out, "HOST [x]\n", "{}", done.err);
    // One that starts a child comes back deeper: there is a limit.
    world.program("w2/claude", "#!/bin/sh\nclaude \"$@\"\nexit $?\n");
    let done = run("w2");
    assert_eq!((done.code, done.out.as_str()), (70, ""), "{}", done.err);
    assert_eq!(done.err.matches("vmclaude:").count(), 1, "{}", done.err);
}
