//! What a project may ask for: limits at once, requests after a person's word on a terminal, and the word for exactly those
//! bytes and those directories.

use crate::support::pty::Typist;
use crate::support::{Case, Limited, Who, World, cases};
use std::fs;
use std::os::unix::fs::symlink;

const FILE: &str = "p/.vmclaude.toml";

fn request(world: &World, name: &str) -> String {
    let data = world.path(name);
    format!(
        "[request]\nmounts = [{{ host = \"{0}/ro\", guest = '/mnt/ro' }}, {{ host = \"{0}/rw\", guest = '/mnt/rw', writable = true }}]\n\
         env = ['EDITOR']\nnetwork = ['a.example']\npackages = ['golang']\n",
        data.display()
    )
}

/// Types the word that `vmclaude approve` shows.
fn approve(world: &World, typist: &mut Typist) -> String {
    let program = world.path("opt/bin/vmclaude");
    typist.keys(&format!("\"{}\" approve; echo status=$?\n", program.display()));
    let shown = typist.wait(" to approve: ");
    let word = shown.rsplit("Type ").next().expect("a word").split(' ').next().expect("a word").to_owned();
    typist.keys(&format!("{word}\n"));
    shown + &typist.wait("status=0")
}

#[test]
fn a_request_counts_when_a_person_typed_its_word() {
    let world = World::bare(Who::Ordinary);
    for dir in ["data/ro", "data/rw"] {
        world.write(&format!("{dir}/here"), "x");
    }
    world.write(FILE, request(&world, "data"));
    world.enroll();
    // Nobody but a person on a terminal: no pipe, no empty input, not Claude.
    for input in [&b"yes\n"[..], b"", b"y\ny\ny\n"] {
        world.vmclaude(&["approve"]).fed(input.to_vec()).assert_failure(78, &["no terminal"]);
    }
    world.vmclaude(&["approve"]).env("CLAUDECODE", "1").done().assert_failure(78, &["only a person"]);
    let mut typist = Typist::new(&world);
    let program = world.path("opt/bin/vmclaude");
    let line = format!("\"{}\" approve; echo status=$?\n", program.display());
    for wrong in ["", "y", "yes", "0000x"] {
        typist.keys(&line);
        typist.wait(" to approve: ");
        typist.keys(&format!("{wrong}\n"));
        let said = typist.wait("status=78");
        assert!(said.contains("nothing was approved"), "{said}");
    }
    let shown = approve(&world, &mut typist);
    for part in
        ["+ mount", "/data/ro at /mnt/ro, read only", "HIGH", "+ env      EDITOR", "EDITOR is not set", "a.example:443"]
    {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    let off = |world: &World| world.vmclaude(&["status"]).done().out().contains("requests is off");
    assert!(!off(&world), "approved");
    // Each of these is another request than the one that was approved.
    let text = fs::read_to_string(world.path(FILE)).expect("read");
    for other in [format!("{text} "), text.replace('\n', "\r\n"), text.replace("EDITOR", "PAGER"), format!("{text}#")] {
        world.write(FILE, other);
        assert!(off(&world), "a byte of it changed");
    }
    world.write(FILE, &text);
    assert!(!off(&world), "the same bytes again");
    fs::rename(world.path("data/ro"), world.path("data/was")).expect("mv");
    assert!(off(&world), "the directory is gone");
    world.write("data/ro/here", "another");
    assert!(off(&world), "another directory at the same path");
    fs::remove_dir_all(world.path("data/ro")).expect("rm");
    symlink(world.path("home"), world.path("data/ro")).expect("ln");
    assert!(off(&world), "a link at the same path");
    fs::remove_file(world.path("data/ro")).expect("rm");
    fs::rename(world.path("data/was"), world.path("data/ro")).expect("mv");
    assert!(!off(&world), "the same directory again");
    world.vmclaude(&["approve", "--revoke"]).done();
    assert!(off(&world), "taken back");
}

#[test]
fn a_file_that_is_no_plain_file_or_makes_no_sense_stops_everything() {
    let world = World::bare(Who::Ordinary);
    world.enroll();
    let refused = |what: &str, words: &[&str]| {
        let done = world.vm(&["true"]).done();
        assert_eq!(done.code(), Some(78), "{what}: {done:?}");
        done.assert_failure(78, words);
        fs::remove_file(world.path(FILE)).expect("rm");
    };
    world.write("elsewhere", "[limit]\ncpus = 1\n");
    symlink(world.path("elsewhere"), world.path(FILE)).expect("ln");
    refused("a link", &["it is a link"]);
    symlink("nowhere", world.path(FILE)).expect("ln");
    refused("a link to nothing", &["it is a link"]);
    nix::unistd::mkfifo(&world.path(FILE), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    world.give("p");
    refused("a pipe", &["not a plain file"]);
    world.write(FILE, "#".repeat(70_000));
    refused("too large", &["larger than 64 KiB"]);
    world.write(FILE, "[limit]\ncpu = 1\n");
    refused("a mistyped key", &["unknown field"]);
    world.write(FILE, b"\x1b]0;owned\x07 = 1");
    refused("keys for the terminal", &["cannot use .vmclaude.toml"]);
}

#[test]
fn what_was_approved_is_in_the_machine_and_limits_hold() {
    let world = World::new(Who::Ordinary);
    for dir in ["data/ro", "data/rw"] {
        world.write(&format!("{dir}/here"), "of the host\n");
    }
    world.write(FILE, request(&world, "data") + "[limit]\nmemory = '700M'\nnetwork = 'none'\n");
    world.enroll();
    let plan = || world.vm(&["--dry-run", "true"]).env("EDITOR", "ed").done().out();
    let before = plan();
    assert!(!before.contains("/mnt/r") && !before.contains("EDITOR") && before.contains("700 MiB"), "{before}");
    approve(&world, &mut Typist::new(&world));
    let after = plan();
    assert!(after.contains("EDITOR") && after.contains("/rw\' -> /mnt/rw"), "{after}");
    let cases = [
        Case::out("read", "cat /mnt/ro/here", "of the host\n"),
        Case::fails("no write", "echo x > /mnt/ro/new", "Read-only"),
        Case::fails("no removal", "rm /mnt/ro/here", "Read-only"),
        Case::out("write", "echo new > /mnt/rw/new; cat /mnt/rw/here", "of the host\n"),
        Case::out("limits", "awk '/MemTotal/ { print ($2 < 720000) }' /proc/meminfo", "1\n"),
        Case::out("network", "echo \"${HTTPS_PROXY-none}\"", "none\n"),
    ];
    cases::check(&world, &[], &cases);
    assert_eq!(fs::read_to_string(world.path("data/rw/new")).expect("written"), "new\n");
}
