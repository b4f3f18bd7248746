//! stdin, stdout, stderr and arguments cross byte for byte and apart.

use crate::support::{Case, Limited, Who, World, cases};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn every_byte_of_arguments_and_streams() {
    let world = World::new(Who::nth(1));
    let mut words: Vec<OsString> = ["bash", "-c", "printf '%s\\0' \"$@\"; cat", "name", ""].map(Into::into).to_vec();
    words.push(OsString::from_vec((1..=255).collect()));
    words.extend((1..=255).map(|byte| OsString::from_vec(vec![byte])));
    words.extend(["--help", "--dry-run", "-h", "--", "\u{fc}"].map(Into::into));
    let stdin: Vec<u8> = (0..=255).chain(*b"\xff\xfe\x00\xc3").collect();
    let guest = world.vm(&words).fed(stdin.clone());
    let host = world.command(&words[0]).args(&words[1..]).fed(stdin);
    assert!(guest.out == host.out && guest.end() == host.end(), "{guest:?}\n{host:?}");
    assert!(guest.out.len() > 1000 && guest.err.is_empty(), "{guest:?}");
    world.assert_clean();
}

#[test]
fn a_reader_that_goes_away_kills_with_sigpipe() {
    let world = World::new(Who::nth(0));
    let end = |mut command: std::process::Command| {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
        child.stdout.take().expect("stdout").read_exact(&mut [0; 1]).expect("a byte");
        crate::support::until("it has noticed", || child.try_wait().expect("wait"))
    };
    let host = end(world.command("yes"));
    let guest = end(world.vm(&["yes"]));
    assert_eq!((guest.code(), guest.signal()), (host.code(), host.signal()));
    world.assert_clean();
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let world = World::new(Who::nth(1));
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    for (script, code) in [("echo hi", 125), ("echo hi; exit 3", 3)] {
        let child = world.vm(&["sh", "-c", script]).stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped()).spawn();
        let done = child.expect("starts").wait_with_output().expect("ends");
        let err = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{err}");
        assert!(err.contains("not all of the output was written to stdout: No space left"), "{err}");
    }
    let child = world.vm(&["sh", "-c", "echo hi >&2; exit 3"]).stdin(Stdio::null()).stderr(full()).spawn();
    assert_eq!(child.expect("starts").wait().expect("ends").code(), Some(3));
    world.assert_clean();
}

#[test]
fn what_stdin_is() {
    let world = World::new(Who::nth(1));
    // Through a shell, because it can close a descriptor.
    let run = |redirect: &str, script: &str| {
        let line = format!("{} bash -c '{script}' {redirect}", "\"$V\"");
        world.command("sh").arg("-c").arg(line).env("V", world.path("opt/bin/vmclaude-container")).fed(b"abc".to_vec())
    };
    assert_eq!(run("", "cat; read x || echo EOF").out(), "abcEOF\n");
    assert_eq!(run("</dev/null", "cat; readlink /proc/self/fd/0").out(), "/dev/null\n");
    let closed = run("<&-", "cat 2>/dev/null; echo over");
    assert_eq!((closed.code(), closed.out().as_str()), (Some(0), "over\n"), "{closed:?}");
    world.assert_clean();
}

/// The supervisor waits its turn where there is one processor; the command is a process as any other.
#[test]
fn a_command_is_scheduled_as_usual() {
    let world = World::new(Who::nth(0));
    let script = "nproc; for p in self $PPID; do read -ra s </proc/$p/stat; echo ${s[18]} ${s[40]}; done";
    for (cpus, supervisor) in [("1", "-5 3"), ("2", "0 0")] {
        let seen = world.vm(&["bash", "-c", script]).env("VMCLAUDE_CPUS", cpus).done().out();
        assert_eq!(seen.lines().collect::<Vec<_>>(), [cpus, "0 0", supervisor], "nice values and policies");
    }
    world.assert_clean();
}

#[test]
fn cases_like_on_the_host() {
    for who in Who::all() {
        cases::check(
            &World::new(*who),
            &[],
            &[
                Case::same("a pipe inside", "seq 100000 | sha256sum"),
                Case::same("a reader gone inside", "yes | head -c 1; echo ${PIPESTATUS[*]}"),
                Case::same("stderr apart", "echo a; echo b >&2; exit 9"),
                Case::same("umask", "umask; touch u; stat -c %a u; rm u"),
                Case::same("a file by /dev/stdin", "echo x | cat /dev/stdin"),
                Case::same("a descriptor by number", "cat <(echo y) 5<&1"),
                Case::out("descriptors that nobody gave", "ls /proc/self/fd | wc -l", "4\n"),
                Case::out(
                    "user",
                    "id -u; id -un; echo $HOME $SHELL",
                    format!("{}\nclaude\n/home/claude /bin/bash\n", who.guest_uid()),
                ),
                Case::out(
                    "kernel of its own",
                    "uname -n | cut -c1-8; sed s/vmclaude-// /proc/1/comm",
                    "vmclaude\ninit\n",
                ),
                Case::out(
                    "no signal is ignored",
                    "grep -E 'Sig(Ign|Blk)' /proc/self/status | tr -d '0\\t\\n'",
                    "SigBlk:SigIgn:",
                ),
            ],
        );
    }
}
