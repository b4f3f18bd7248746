//! `vmclaude image build` with Apple's builder.

use crate::support::{Limited, World, apple};
use crate::world;
use std::fs;
use std::path::Path;

/// What install.sh puts beside the program.
fn install_sources(world: &World) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let to = world.path("opt/lib/vmclaude/source");
    fs::create_dir_all(&to).expect("mkdir");
    for name in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root.join(name), to.join(name)).expect("cp");
    }
    let copied = std::process::Command::new("cp").arg("-R").arg(root.join("image")).arg(&to).status().expect("cp");
    assert!(copied.success());
}

#[test]
fn an_image_is_built_with_the_same_flags_each_time_and_then_known() {
    let world = world();
    let build = |words: &[&str]| world.vmclaude(&[&["image", "build"], words].concat()).done();
    build(&[]).assert_failure(125, &["not installed completely"]);
    install_sources(&world);
    // Whatever colours the person likes, the builder's environment is the same.
    let first = build(&[]);
    assert_eq!(first.code(), Some(0), "{first:?}");
    let second = world.vmclaude(&["image", "build", "--claude", "2.1.331"]).env("NO_COLOR", "1").done();
    assert_eq!(second.code(), Some(0), "{second:?}");
    let builder = fs::read_to_string(apple::service(&world).join("builder.json")).expect("a builder");
    assert!(builder.contains("\"restarts\":0"), "{builder}");
    let list = world.vmclaude(&["image", "list"]).done();
    assert!(list.out().contains("2.1.331") && list.out().contains("sha256:"), "{list:?}");
    let status = world.vmclaude(&["status"]).done();
    assert!(status.out().contains("2.1.331"), "{status:?}");
    crate::assert_works(&world);
    // The latest is asked for anew each time, and is known by its number; without a word it stays.
    let mut seen = vec!["2.1.331".to_owned()];
    for words in [&["--claude", "latest"][..], &["--claude", "latest"], &[]] {
        let built = build(words);
        assert_eq!(built.code(), Some(0), "{built:?}");
        let list = world.vmclaude(&["image", "list"]).done().out();
        let version = list.split("Claude Code ").nth(1).and_then(|rest| rest.split(',').next()).expect("a version");
        assert!(version.starts_with("2.1."), "{list}");
        assert_eq!(seen.last().is_some_and(|last| last == version), words.is_empty(), "{seen:?} {list}");
        seen.push(version.to_owned());
    }
    world.vmclaude(&["image", "rm", "0001"]).done().assert_failure(64, &["there is no image 0001", "image list"]);
    crate::assert_works(&world);
    // One that somebody else put in its place is not run.
    let file = apple::service(&world).join("images.json");
    let text = fs::read_to_string(&file).expect("images");
    let known = fs::read_to_string(world.path("home/.local/share/vmclaude/images/apple.json")).expect("known");
    let digest = known.split('"').find(|w| w.starts_with("sha256:")).expect("a digest").to_owned();
    fs::write(&file, text.replace(&digest, &format!("sha256:{}", "f".repeat(64)))).expect("write");
    world.in_vm(&["true"]).assert_failure(125, &["not the one that was built", "vmclaude image build"]);
    let bad = world.vmclaude(&["image", "build", "--claude", "newest"]).done();
    assert_eq!(bad.code(), Some(64), "{bad:?}");
}
