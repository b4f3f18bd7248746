//! install.sh to its last step where `uname` says Darwin: the image by Apple's builder and a VM from it, both through the
//! double, and the programs this machine's own.

use crate::support::{Limited, World, apple};
use crate::world;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A release with sources and an archive, a Mac's answers, and a user who has no image yet.
fn mac() -> World {
    let world = world();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(world.path("release")).expect("mkdir");
    for name in ["install.sh", "shell", "Cargo.toml", "Cargo.lock", "image"] {
        let copied = Command::new("cp").arg("-R").arg(root.join(name)).arg(world.path("release")).status();
        assert!(copied.expect("cp").success(), "{name}");
    }
    let mut tar = Command::new("tar");
    tar.arg("-czf").arg(world.path("release/vmclaude-darwin-aarch64.tar.gz")).arg("-C").arg(world.path("opt"));
    assert!(tar.args(["bin/vmclaude", "lib/vmclaude/vmclaude-shim"]).status().expect("tar").success());
    fs::remove_file(world.path("home/.local/share/vmclaude/images/apple.json")).expect("rm");
    fs::remove_file(apple::service(&world).join("images.json")).expect("rm");
    world.program("bin/uname", "#!/bin/sh\ncase $1 in -s) echo Darwin ;; *) echo arm64 ;; esac\n");
    world.program("bin/sw_vers", "#!/bin/sh\necho 26.1\n");
    // The service knows its user by no variable.
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let double =
        format!("#!/bin/sh\nHOME={} exec {} \"$@\"\n", quoted(&world.path("home")), quoted(&apple::program(&world)));
    world.program("bin/container", &double);
    let line = format!("container = \"{}\"\n", world.path("bin/container").display());
    world.write("home/.config/vmclaude/config.toml", format!("engine = \"apple\"\n{line}"));
    world.write("home/Library/Application Support/vmclaude/config.toml", line);
    world.give("home");
    world
}

fn install(world: &World, words: &[&str]) -> Command {
    let mut command = world.command("/bin/sh");
    command.arg(world.path("release/install.sh")).args(words);
    command
}

/// The names in the home, and in its `.local`.
fn names(world: &World) -> Vec<String> {
    let list = |dir: &str| fs::read_dir(world.path(dir)).expect("list").flatten().map(|e| e.file_name());
    let mut all: Vec<String> =
        list("home").chain(list("home/.local")).map(|name| name.to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

#[test]
fn a_mac_ends_with_a_machine_that_booted_and_the_programs_in_their_places() {
    let world = mac();
    let before = names(&world);
    let done = install(&world, &["--no-shell"]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.out().contains("A VM booted: kernel "), "{done:?}");
    assert!(!world.guest_home().exists(), "the trial has a home of its own");
    for name in ["bin/vmclaude", "lib/vmclaude/source/image/Containerfile", "lib/vmclaude/vmclaude-shim"] {
        assert!(world.path("home/.local").join(name).is_file(), "{name}");
    }
    let mut run = world.command(world.path("home/.local/bin/vmclaude-container"));
    let works = run.args(["sh", "-c", "echo works; exit 7"]).done();
    assert_eq!((works.code(), works.out().as_str()), (Some(7), "works\n"), "{works:?}");
    let gone = install(&world, &["--uninstall", "--purge", "--yes"]).done();
    assert_eq!(gone.code(), Some(0), "{gone:?}");
    let now = names(&world);
    assert!(now.iter().all(|name| before.contains(name) || name == "state" || name == ".cache"), "{now:?}");
    world.assert_clean();
}

#[test]
fn a_mac_whose_machine_does_not_boot_is_as_it_was() {
    let world = mac();
    let mut before = names(&world);
    before.retain(|name| name != ".cache");
    // The builder's service works, and its machines do not.
    apple::behave(&world, &json!({ "drop_mount": "/workspace" }));
    let done = install(&world, &[]).done();
    assert_eq!(done.code(), Some(1), "{done:?}");
    for part in ["did not mount /workspace", "the VM did not boot, so nothing was installed", "the image stays"] {
        assert!(done.err().contains(part), "{part}: {done:?}");
    }
    let mut now = names(&world);
    now.retain(|name| name != ".cache");
    assert_eq!(now, before);
    assert!(!world.path("home/.bashrc").exists());
    world.assert_clean();
}
