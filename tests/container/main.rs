//! The driver for Apple's `container` against the double, where its life is hard: clients killed, services that are down, skewed
//! or hang, machines lost, containers that cannot be removed yet. Whatever happens, no container of ours remains, and no other
//! is touched.

mod images;
mod install;
mod kills;
mod services;
mod sleep;
#[path = "../support/mod.rs"]
mod support;

use support::{Engine, Limited, Who, World, apple, leaks};

/// A world with the double.
fn world() -> World {
    World::with(Who::nth(1), Engine::Apple)
}

/// Runs `true` in the guest and looks for leftovers: the next run works.
#[track_caller]
fn assert_works(world: &World) {
    let done = world.in_vm(&["sh", "-c", "echo works"]);
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "works\n"), "{done:?}");
}

/// The processes of the double in this world whose first word is this one.
fn doubles(world: &World, word: &str) -> Vec<i32> {
    let is = |p: &leaks::Process| {
        let mut words = p.cmdline.split(|b| *b == 0);
        words.next().is_some_and(|w| w.ends_with(b"container")) && words.next() == Some(word.as_bytes())
    };
    leaks::processes(world).into_iter().filter(is).map(|p| p.pid).collect()
}

/// What the system writes to disk and shows to everybody holds no secret, and nothing was said on stdout.
#[test]
fn a_container_is_silent_and_holds_no_secret() {
    let world = world();
    let mut live = {
        let script = "echo said aloud; cat >/dev/null & echo $ANTHROPIC_API_KEY > key; touch ready; sleep 600";
        let mut command = world.vm(&["bash", "-c", script]);
        command.env("ANTHROPIC_API_KEY", "sk-canary-12345");
        command.live()
    };
    support::until("the guest is ready", || world.path("p/ready").exists().then_some(()));
    assert_eq!(std::fs::read_to_string(world.path("p/key")).expect("read"), "sk-canary-12345\n", "it has the key");
    let name = apple::containers(&world).pop().expect("a container");
    let dir = apple::service(&world).join("containers").join(&name);
    let config = std::fs::read_to_string(dir.join("config.json")).expect("read");
    assert!(config.contains("vmclaude.run") && config.contains("\"vmclaude.state\""), "{config}");
    for file in std::fs::read_dir(&dir).expect("list").flatten().filter(|f| f.file_name() != "initrd") {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(9).any(|w| w == b"sk-canary"), "{}", file.path().display());
    }
    live.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(live.end().end(), (None, Some(15)));
    world.assert_clean();
    let said = std::fs::read(apple::service(&world).join("stdout.log")).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(&said), "", "the container said something on stdout");
}

/// The fallback: the same bytes over the container's stdin and stdout.
#[test]
fn the_wire_may_be_the_containers_stdin_and_stdout() {
    let world = world();
    world.configure("wire = \"stdio\"\n");
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let mut command = world.vm(&["sh", "-c", "cat; echo apart >&2; exit 9"]);
    let done = command.fed(bytes.clone());
    assert_eq!((done.code(), done.err().as_str()), (Some(9), "apart\n"), "{done:?}");
    assert!(done.out == bytes, "{} bytes instead of {}", done.out.len(), bytes.len());
    world.assert_clean();
}

/// What the guest's root could undo in the guest is looked at afterwards, and put back.
#[test]
fn what_is_protected_is_checked_and_put_back() {
    let world = world();
    let git = world.command("git").args(["init", "-q"]).done();
    assert_eq!(git.code(), Some(0), "{git:?}");
    world.write("p/.git/hooks/pre-commit", "#!/bin/sh\necho mine\n");
    let script = "echo evil > .git/hooks/pre-commit; mv .git aside && cp -R aside .git && rm -rf aside
        echo evil > .git/hooks/pre-commit; echo evil > .git/hooks/post-commit; echo fine > code";
    let done = world.vm(&["bash", "-c", script]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let text = |name: &str| std::fs::read_to_string(world.path(name)).unwrap_or_default();
    assert_eq!(text("p/.git/hooks/pre-commit"), "#!/bin/sh\necho mine\n", "{done:?}");
    assert!(!world.path("p/.git/hooks/post-commit").exists(), "{done:?}");
    assert_eq!(text("p/code"), "fine\n");
    assert_eq!(done.err().matches("put back as it was").count(), 2, "{done:?}");
    world.assert_clean();
}

/// Neither a socket nor an argument could hold this path.
#[test]
fn a_state_directory_that_is_too_long_or_has_a_colon_works() {
    let world = world();
    for state in [format!("home/{}", "deep/".repeat(30)), "home/a:b".to_owned()] {
        let mut command = world.vm(&["sh", "-c", "pwd"]);
        let done = command.env("XDG_STATE_HOME", world.path(&state)).done();
        assert_eq!((done.code(), done.out().as_str()), (Some(0), "/workspace\n"), "{done:?}");
        let uid = world.who.ids().0;
        let left = std::fs::read_dir("/tmp").expect("list").flatten().map(|e| e.file_name());
        let ours: Vec<_> = left.filter(|n| n.to_string_lossy().starts_with(&format!("vmclaude-{uid}-"))).collect();
        assert!(ours.is_empty(), "{ours:?}");
        world.assert_clean();
    }
}
