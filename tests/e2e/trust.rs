//! What a project may ask for: limits at once, requests after a person's word on a terminal, and the word for exactly those
//! bytes and those directories.

use crate::support::pty::Typist;
use crate::support::{Case, Limited, Who, World, cases, until};
use std::fs;
use std::io::{Read, Write};
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
    for part in [
        "+ mount",
        "/data/ro\" at /mnt/ro, read only",
        "HIGH",
        "+ env      EDITOR",
        "EDITOR (not set in this shell)",
        "a.example:443",
    ] {
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

/// Answers one line with another.
const SERVER: &str = "exec python3 -c '
import socket
server = socket.create_server((\"127.0.0.1\", 5173))
open(\"ready\", \"w\").close()
while True:
    there, _ = server.accept()
    there.sendall(b\"the guest heard \" + there.makefile().readline().encode())
    there.close()
'";

fn say(port: u16) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20)))?;
    writeln!(stream, "it")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map(|_| answer)
}

#[test]
fn ports_and_volumes_are_there_once_they_were_approved() {
    let world = World::new(Who::Ordinary);
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr());
    let port = free.expect("a port").port();
    for (asked, why) in [("80", "ports below 1024"), ("5173:0", "is no port"), ("x", "is no port")] {
        world.write(FILE, format!("[request]\nports = ['{asked}']\n"));
        world.vm(&["true"]).done().assert_failure(78, &["cannot use .vmclaude.toml", why]);
    }
    world.write(FILE, format!("[request]\nports = ['{port}:5173']\nvolumes = ['target']\n"));
    world.enroll();
    let plan = || world.vm(&["--dry-run", "true"]).done().out();
    let forward = format!("127.0.0.1:{port} -> 5173");
    let before = plan();
    assert!(!before.contains(&forward) && !before.contains("local "), "{before}");
    let mut live = world.start(&format!("[ -e target ] && exit 9; {SERVER}"));
    assert!(say(port).is_err(), "nobody has approved it");
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.end();
    let shown = approve(&world, &mut Typist::new(&world));
    assert!(shown.contains(&format!("+ port     {forward}")) && shown.contains("+ volume   target"), "{shown}");
    let after = plan();
    assert!(after.contains(&forward) && after.contains("local    target on "), "{after}");
    let mut live = world.start(&format!("grep -q '/workspace/target ext4' /proc/mounts || exit 9; {SERVER}"));
    let answer = until("it answers", || say(port).ok().filter(|answer| !answer.is_empty()));
    assert_eq!(answer, "the guest heard it\n");
    live.signal(nix::sys::signal::Signal::SIGTERM);
    live.end();
    // What the user writes of a project takes nothing of what they approved.
    let root = world.path("p").canonicalize().expect("real").display().to_string();
    world.configure(&format!("[projects.\"{root}\"]\nvolumes = ['dist']\n"));
    assert!(plan().contains("local    dist, target on "), "{}", plan());
    world.assert_clean();
}
