//! What the host changes, as watchers in the guest hear of it, and as readers see it.

use crate::support::{Limited, Who, World, full, until};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const WATCHER: &str = include_str!("../support/watcher.py");

/// A world with a watcher for `p/d`, whose log is `p/log`.
fn world(who: Who) -> World {
    let world = World::new(who);
    world.write("p/watcher.py", WATCHER);
    world.write("p/d/sub/below", "");
    world.write("p/d/f", "before");
    world
}

/// The events that were logged so far.
fn log(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("p/log")).unwrap_or_default();
    text.lines().skip(1).map(str::to_owned).collect()
}

/// Waits for a line, as the last one.
#[track_caller]
fn heard(world: &World, line: &str) {
    until(&format!("the watcher hears {line:?}"), || log(world).last().is_some_and(|last| last == line).then_some(()));
}

type Entry = (PathBuf, u64, i64, i64, i64, i64, u32, Vec<u8>);

/// Names, inodes, times and bytes: whatever a repetition could have touched.
fn picture(dir: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).expect("stat"));
        if meta.is_dir() {
            all.extend(picture(&path));
        }
        let bytes = if meta.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        all.push((path, meta.ino(), times.0, times.1, times.2, times.3, meta.mode(), bytes));
    }
    all.sort();
    all
}

/// One change of the host, and what a watcher of the directory hears of it.
type Step = (fn(&Path), &'static [&'static str]);

const STEPS: [Step; 11] = [
    (|d| fs::write(d.join("f"), "after").expect("write"), &["d MODIFY f", "d CLOSE_WRITE f"]),
    (|d| drop(fs::File::create(d.join("new")).expect("create")), &["d CREATE new", "d CLOSE_WRITE new"]),
    (|d| fs::rename(d.join("new"), d.join("newer")).expect("rename"), &["d MOVED_FROM new", "d MOVED_TO newer"]),
    (
        |d| {
            fs::write(d.join(".f.tmp"), "saved").expect("write");
            fs::rename(d.join(".f.tmp"), d.join("f")).expect("rename");
        },
        &["d MOVED_FROM .f.tmp", "d MOVED_TO f"],
    ),
    (|d| fs::set_permissions(d.join("f"), PermissionsExt::from_mode(0o600)).expect("chmod"), &["d ATTRIB f"]),
    (|d| fs::remove_file(d.join("newer")).expect("rm"), &["d DELETE newer"]),
    (|d| fs::create_dir(d.join("dir")).expect("mkdir"), &["d CREATE/ dir"]),
    (|d| fs::rename(d.join("dir"), d.join("sub/dir")).expect("mv"), &["d MOVED_FROM/ dir", "d/sub MOVED_TO/ dir"]),
    (|d| fs::remove_dir(d.join("sub/dir")).expect("rmdir"), &["d/sub DELETE/ dir"]),
    (|d| std::os::unix::fs::symlink("f", d.join("link")).expect("ln"), &["d CREATE link"]),
    (|d| fs::rename(d.join("sub/below"), d.join("../taken")).expect("mv"), &["d/sub MOVED_FROM below"]),
];

#[test]
fn every_change_of_the_host_reaches_a_watcher_in_the_guest_and_touches_nothing() {
    for who in Who::all() {
        let world = world(*who);
        let mut live = world.start("ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d d/sub");
        let mut want = Vec::new();
        for (change, events) in STEPS {
            change(&world.path("p/d"));
            let before = picture(&world.path("p/d"));
            want.extend(events.iter().map(|line| (*line).to_owned()));
            // What leaves the watched directory is seen to be gone, and elsewhere to have come.
            heard(&world, events[events.len() - 1]);
            assert_eq!(picture(&world.path("p/d")), before, "{events:?}");
        }
        fs::write(world.path("p/log.stop"), "").expect("write");
        let done = live.end();
        assert_eq!((done.code(), log(&world)), (Some(0), want), "{done:?}");
        world.assert_clean();
    }
}

#[test]
fn a_thousand_of_each_and_none_is_lost_or_invented() {
    let world = world(Who::nth(1));
    let mut live = world.start(
        "ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d",
    );
    let many = if full() { 1000 } else { 150 };
    let file = |n: usize| world.path(&format!("p/d/{n}"));
    let count = |what: &str| log(&world).iter().filter(|line| line.contains(what)).count();
    (0..many).for_each(|n| drop(fs::File::create(file(n)).expect("create")));
    until("all are made", || (count(" CREATE ") == many).then_some(()));
    (0..many).for_each(|n| fs::write(file(n), "x").expect("write"));
    until("all are changed", || (count(" MODIFY ") == many && count(" CLOSE_WRITE ") == 2 * many).then_some(()));
    (0..many).for_each(|n| fs::remove_file(file(n)).expect("rm"));
    until("all are gone", || (count(" DELETE ") == many).then_some(()));
    fs::write(world.path("p/log.stop"), "").expect("write");
    assert_eq!(live.end().code(), Some(0));
    assert_eq!(log(&world).len(), 5 * many, "nothing else was heard");
    world.assert_clean();
}

/// The same program, here and in the guest, hears the same of what is done beside it.
#[test]
fn what_the_guest_does_itself_is_heard_once() {
    let script = "ls -lR d >/dev/null; python3 watcher.py log d & until [ -s log ]; do sleep 0.05; done; \
                  : > d/a; echo x > d/b; echo y >> d/b; mv d/b d/c; touch d/a; chmod 600 d/a; mkdir d/e; echo s > d/t; mv d/t d/f; \
                  rm d/c; rmdir d/e; ln d/f d/l; ln -s x d/s; truncate -s 1 d/f; sleep 2; : > log.stop; wait";
    let (guest, host) = (world(Who::nth(1)), world(Who::nth(1)));
    let done = guest.vm(&["bash", "-c", script]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert_eq!(host.command("bash").args(["-c", script]).done().code(), Some(0));
    let sorted = |world: &World| {
        let mut lines = log(world);
        lines.sort();
        lines
    };
    assert_eq!(sorted(&guest), sorted(&host));
    assert!(log(&host).len() > 20);
    guest.assert_clean();
}

#[test]
fn what_is_ignored_or_switched_off_is_not_told() {
    let world = world(Who::nth(0));
    for dir in ["p/d/node_modules", "p/d/dist"] {
        fs::create_dir(world.path(dir)).expect("mkdir");
    }
    world.write("p/.gitignore", "dist/\n");
    world.give("p");
    let script = "ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d d/node_modules d/dist";
    let hear = |last: bool| {
        let _ = fs::remove_file(world.path("p/log"));
        let _ = fs::remove_file(world.path("p/log.stop"));
        let mut live = world.start(script);
        for file in ["p/d/node_modules/x", "p/d/dist/x", "p/d/x"] {
            fs::write(world.path(file), "x").expect("write");
        }
        if last {
            heard(&world, "d CLOSE_WRITE x");
        }
        fs::write(world.path("p/log.stop"), "").expect("write");
        assert_eq!(live.end().code(), Some(0));
        let heard = log(&world);
        ["p/d/node_modules/x", "p/d/dist/x", "p/d/x"]
            .iter()
            .for_each(|file| fs::remove_file(world.path(file)).expect("rm"));
        heard
    };
    assert_eq!(hear(true), ["d CREATE x", "d MODIFY x", "d CLOSE_WRITE x"]);
    world.configure("[watch]\nenabled = false\n");
    assert!(hear(false).is_empty());
    world.assert_clean();
}

/// Reads what it is told to read, and says what it found.
const READER: &str = "import os, sys
kept = open('d/f')
for line in sys.stdin:
    want = line.strip()
    got = open('d/f').read()
    assert got == want, ('read', got, want)
    assert os.stat('d/f').st_size == len(want), ('stat', want)
    assert os.path.exists('d/made' + want) == (int(want.split('.')[0]) % 2 == 1), ('made', want)
    print(want, flush=True)
";

#[test]
fn what_the_host_wrote_last_is_what_the_guest_reads() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let world = world(Who::nth(1));
    world.write("p/reader.py", READER);
    let turns = if full() { 10_000 } else { 1_000 };
    let mut vm = world.vm(&["python3", "-u", "reader.py"]);
    let mut vm = vm.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("spawn");
    let (mut to, mut from) = (vm.stdin.take().expect("stdin"), BufReader::new(vm.stdout.take().expect("stdout")));
    let (f, tmp) = (world.path("p/d/f"), world.path("p/d/tmp"));
    for turn in 0..turns {
        let text = format!("{turn}.{}", "x".repeat(turn % 13));
        // In turn: in place, another file in its place, removed and made anew.
        match turn % 3 {
            0 => fs::write(&f, &text).expect("write"),
            1 => {
                fs::write(&tmp, &text).expect("write");
                fs::rename(&tmp, &f).expect("rename");
            }
            _ => {
                fs::remove_file(&f).expect("rm");
                fs::write(&f, &text).expect("write");
            }
        }
        let made = world.path("p/d").join(format!("made{text}"));
        if turn % 2 == 1 {
            fs::write(&made, "").expect("write");
        }
        writeln!(to, "{text}").expect("ask");
        let mut answer = String::new();
        from.read_line(&mut answer).expect("an answer");
        assert_eq!(answer.trim_end(), text, "turn {turn}");
        let _ = fs::remove_file(&made);
    }
    drop(to);
    assert!(vm.wait().expect("wait").success());
    world.assert_clean();
}

/// Every directory of a large tree is watched, and one file in each is changed: 100,000 files with `--full`.
#[test]
fn a_change_anywhere_in_a_large_tree_is_heard_once() {
    let world = world(Who::nth(1));
    let (directories, files) = if full() { (1000, 100) } else { (100, 50) };
    for n in 0..directories {
        let dir = world.path(&format!("p/d/t/{n}"));
        fs::create_dir_all(&dir).expect("mkdir");
        (0..files).for_each(|m| fs::write(dir.join(m.to_string()), "before").expect("write"));
    }
    world.give("p");
    let mut live = world.start(
        "find d | wc -l; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d/t/*",
    );
    for n in 0..directories {
        fs::write(world.path(&format!("p/d/t/{n}/{}", n % files)), "after").expect("write");
    }
    let count = |what: &str| log(&world).iter().filter(|line| line.contains(what)).count();
    until("all are heard", || (count(" CLOSE_WRITE ") >= directories).then_some(()));
    fs::remove_file(world.path(&format!("p/d/t/{}/0", directories - 1))).expect("rm");
    heard(&world, &format!("d/t/{} DELETE 0", directories - 1));
    fs::write(world.path("p/log.stop"), "").expect("write");
    let done = live.end();
    assert_eq!((done.code(), done.out()), (Some(0), format!("{}\n", 5 + directories * (files + 1))), "{done:?}");
    let want: std::collections::BTreeSet<String> = (0..directories)
        .flat_map(|n| ["MODIFY", "CLOSE_WRITE"].map(|what| format!("d/t/{n} {what} {}", n % files)))
        .chain([format!("d/t/{} DELETE 0", directories - 1)])
        .collect();
    let all = log(&world);
    assert_eq!(all.len(), want.len(), "each once");
    assert_eq!(all.into_iter().collect::<std::collections::BTreeSet<_>>(), want);
    world.assert_clean();
}

/// The limits are those of a user namespace, which counts what is in it as the whole machine does.
#[test]
fn a_host_without_watches_is_said_once_with_what_to_type() {
    let world = world(Who::nth(0));
    (0..8).for_each(|n| fs::create_dir(world.path(&format!("p/d/{n}"))).expect("mkdir"));
    world.give("p");
    let mut typist = crate::support::pty::Typist::new(&world);
    for (limit, said) in [
        ("user/max_fanotify_marks", None),
        ("user/max_inotify_watches", Some(("not every change", "max_user_watches="))),
        ("user/max_inotify_instances", Some(("changes on the host do not reach", "max_user_instances="))),
    ] {
        let number = if said.is_some_and(|(_, next)| next.contains("instances")) { 0 } else { 4 };
        let run = format!("echo {number} > /proc/sys/{limit}; exec \"$V\" sh -c \"ls -R d >/dev/null; sleep 2\"");
        let shown = typist.step(&format!("unshare --user --map-root-user sh -c '{run}'"));
        let lines = |words: &str| shown.matches(words).count();
        match said {
            None => assert_eq!((lines("watchers in the VM"), lines("sysctl")), (0, 0), "{shown}"),
            Some((what, next)) => {
                assert_eq!((lines(what), lines(next), lines("watchers in the VM")), (1, 1, 1), "{shown}")
            }
        }
    }
    world.assert_clean();
}
