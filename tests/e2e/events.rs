//! What the host changes, as watchers in the guest hear of it, and as readers see it.

use crate::support::{Engine, Limited, Who, World, full, until};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const WATCHER: &str = include_str!("../support/watcher.py");

/// A world with a watcher for `p/d`, whose log is `p/log`.
fn world(who: Who) -> World {
    let world = World::new(who);
    world.write("p/watcher.py", WATCHER);
    world.write("p/d/sub/below", "");
    world.write("p/d/old/x", "");
    world.write("p/d/f", "before");
    world
}

/// The events that were logged so far.
fn log(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.path("p/log")).unwrap_or_default();
    text.lines().skip(1).map(str::to_owned).collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Waits for a line, as the last one.
#[track_caller]
fn heard(world: &World, line: &str) {
    until(&format!("the watcher hears {line:?}"), || log(world).last().is_some_and(|last| last == line).then_some(()));
}

type Entry = (PathBuf, u64, i64, i64, i64, i64, u32, Vec<u8>);

/// Names, inodes, times and bytes: whatever a repetition could have touched. Through Apple's share, the last one of the times is.
fn picture(dir: &Path) -> Vec<Entry> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).expect("stat"));
        if meta.is_dir() {
            all.extend(picture(&path));
        }
        let bytes = if meta.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        let changed = if apple() { (0, 0) } else { (meta.ctime(), meta.ctime_nsec()) };
        let times = (meta.mtime(), meta.mtime_nsec(), changed.0, changed.1);
        all.push((path, meta.ino(), times.0, times.1, times.2, times.3, meta.mode(), bytes));
    }
    all.sort();
    all
}

fn apple() -> bool {
    Engine::of_this_run() == Engine::Apple
}

/// Changes what is in a file in one step: with a truncation it would be two.
fn edit(path: &Path, text: &str) {
    fs::File::options().write(true).open(path).expect("open").write_all(text.as_bytes()).expect("write");
}

/// One change of the host, what a watcher of the directory hears of it, and what it hears through Apple's share: that a file
/// is there and was written, or that something is different in a directory.
type Step = (fn(&Path), &'static [&'static str], &'static [&'static str]);

const STEPS: [Step; 14] = [
    (|d| edit(&d.join("f"), "after!"), &["d MODIFY f", "d CLOSE_WRITE f"], &["d ATTRIB f", "d CLOSE_WRITE f"]),
    (
        |d| drop(fs::File::create(d.join("new")).expect("create")),
        &["d CREATE new", "d CLOSE_WRITE new"],
        &["d ATTRIB new", "d CLOSE_WRITE new"],
    ),
    (
        |d| fs::rename(d.join("new"), d.join("newer")).expect("rename"),
        &["d MOVED_FROM new", "d MOVED_TO newer"],
        &["d ATTRIB newer", "d CLOSE_WRITE newer", "d ATTRIB/ "],
    ),
    (
        |d| {
            // Beside it that is a difference in the directory, once or twice.
            let aside = d.join(if apple() { "../.f.tmp" } else { ".f.tmp" });
            fs::write(&aside, "saved").expect("write");
            fs::rename(&aside, d.join("f")).expect("rename");
        },
        &["d MOVED_FROM .f.tmp", "d MOVED_TO f"],
        &["d ATTRIB f", "d CLOSE_WRITE f"],
    ),
    (
        |d| fs::set_permissions(d.join("f"), PermissionsExt::from_mode(0o600)).expect("chmod"),
        &["d ATTRIB f"],
        &["d ATTRIB f"],
    ),
    (|d| fs::remove_file(d.join("newer")).expect("rm"), &["d DELETE newer"], &["d ATTRIB/ "]),
    (|d| fs::create_dir(d.join("dir")).expect("mkdir"), &["d CREATE/ dir"], &["d ATTRIB/ dir"]),
    (
        |d| fs::rename(d.join("dir"), d.join("sub/dir")).expect("mv"),
        &["d MOVED_FROM/ dir", "d/sub MOVED_TO/ dir"],
        &["d/sub ATTRIB/ dir", "d ATTRIB/ "],
    ),
    (
        |d| fs::remove_dir(d.join("sub/dir")).expect("rmdir"),
        &["d/sub DELETE/ dir"],
        &["d ATTRIB/ sub", "d/sub ATTRIB/ "],
    ),
    (|d| std::os::unix::fs::symlink("f", d.join("link")).expect("ln"), &["d CREATE link"], &["d ATTRIB/ "]),
    (
        |d| fs::rename(d.join("sub/below"), d.join("../taken")).expect("mv"),
        &["d/sub MOVED_FROM below"],
        &["d ATTRIB/ sub", "d/sub ATTRIB/ "],
    ),
    (
        |d| drop(fs::File::create(d.join("sub/x")).expect("create")),
        &["d/sub CREATE x", "d/sub CLOSE_WRITE x"],
        &["d/sub ATTRIB x", "d/sub CLOSE_WRITE x"],
    ),
    (|d| fs::remove_dir_all(d.join("old")).expect("rm -r"), &["d DELETE/ old"], &["d ATTRIB/ "]),
    (|d| fs::remove_dir_all(d.join("sub")).expect("rm -r"), &["d/sub DELETE x", "d DELETE/ sub"], &["d ATTRIB/ "]),
];

/// Through Apple's share: a file that is not the user's is not touched.
const NOT_THE_USERS: [Step; 1] = [(|d| drop(fs::File::create(d.join("new")).expect("create")), &[], &["d ATTRIB/ "])];

/// Who the host's user is where the tests make files, which are then theirs: through Apple's share that makes a difference.
fn user() -> Who {
    if apple() { Who::Current } else { Who::nth(1) }
}

#[test]
fn every_change_of_the_host_reaches_a_watcher_in_the_guest_and_touches_nothing() {
    for who in Who::all() {
        let world = world(*who);
        let mut live = world.start("ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d d/sub");
        let mut want = Vec::new();
        let steps: &[Step] = if apple() && *who != Who::Current { &NOT_THE_USERS } else { &STEPS };
        for (change, repeated, looked) in steps {
            let events = if apple() { looked } else { repeated };
            change(&world.path("p/d"));
            let before = picture(&world.path("p/d"));
            want.extend(events.iter().map(|line| (*line).to_owned()));
            // What leaves the watched directory is seen to be gone, and elsewhere to have come.
            match apple() {
                // Whether what was left or what came is looked at first is a matter of time.
                true => until(&format!("{events:?}"), || (sorted(log(&world)) == sorted(want.clone())).then_some(())),
                false => heard(&world, events[events.len() - 1]),
            }
            assert_eq!(picture(&world.path("p/d")), before, "{events:?}");
        }
        fs::write(world.path("p/log.stop"), "").expect("write");
        let done = live.end();
        let (heard, want) = if apple() { (sorted(log(&world)), sorted(want)) } else { (log(&world), want) };
        assert_eq!((done.code(), heard), (Some(0), want), "{done:?}");
        world.assert_clean();
    }
}

#[test]
fn a_thousand_of_each_and_none_is_lost_or_invented() {
    let world = world(user());
    let mut live = world.start(
        "ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d",
    );
    let many = if full() { 1000 } else { 150 };
    let file = |n: usize| world.path(&format!("p/d/{n}"));
    let count = |what: &str| log(&world).iter().filter(|line| line.contains(what)).count();
    // Through Apple's share a new file is one that was written, and one that is gone changes its directory.
    let [made, changed, gone] =
        if apple() { [" ATTRIB ", " ATTRIB ", " ATTRIB/ "] } else { [" CREATE ", " MODIFY ", " DELETE "] };
    let before = if apple() { many } else { 0 };
    (0..many).for_each(|n| drop(fs::File::create(file(n)).expect("create")));
    until("all are made", || (count(made) == many && count(" CLOSE_WRITE ") == many).then_some(()));
    (0..many).for_each(|n| edit(&file(n), "x"));
    let all_changed = || count(changed) == before + many && count(" CLOSE_WRITE ") == 2 * many;
    until("all are changed", || all_changed().then_some(()));
    (0..many).for_each(|n| fs::remove_file(file(n)).expect("rm"));
    let least = if apple() { 1 } else { many };
    until("all are gone", || (count(gone) >= least).then_some(()));
    fs::write(world.path("p/log.stop"), "").expect("write");
    assert_eq!(live.end().code(), Some(0));
    assert_eq!(log(&world).len(), 4 * many + count(gone), "nothing else was heard");
    assert!(count(gone) <= many);
    world.assert_clean();
}

/// Directories that are moved, change places and go, each with files to which something happens before and after, in one
/// moment and in several.
#[test]
fn what_is_in_directories_that_move_or_go_is_heard() {
    let world = world(user());
    for file in ["a/b/c/f", "a/b/1", "a/2", "x/f", "y/f"] {
        world.write(&format!("p/d/{file}"), "before");
    }
    let mut live = world.start(
        "ls -lR d >/dev/null; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & \
         exec python3 watcher.py log d d/a d/a/b d/a/b/c d/x d/y",
    );
    let at = |path: &str| world.path("p/d").join(path);
    let mv = |from: &str, to: &str| fs::rename(at(from), at(to)).expect("mv");
    let moved = |from: &str, to: &str| [format!("d MOVED_FROM{from}"), format!("d MOVED_TO{to}")];
    let written = |dir: &str| [format!("{dir} MODIFY f"), format!("{dir} CLOSE_WRITE f")];
    for pause in [0, 1, 4, 30].map(std::time::Duration::from_millis) {
        let wait = || std::thread::sleep(pause);
        let before = log(&world).len();
        for (from, to) in [("x", "t"), ("y", "x"), ("t", "y"), ("x", "t"), ("y", "x"), ("t", "y"), ("f", "g")] {
            mv(from, to);
            wait();
        }
        edit(&at("x/f"), "after!");
        mv("g", "f");
        mv("a", "z");
        wait();
        edit(&at("z/b/c/f"), "after!");
        wait();
        mv("z", "a");
        let swap = [moved("/ x", "/ t"), moved("/ y", "/ x"), moved("/ t", "/ y")].concat();
        let files = [moved(" f", " g"), written("d/x"), moved(" g", " f")].concat();
        let away = [moved("/ a", "/ z"), written("d/a/b/c"), moved("/ z", "/ a")].concat();
        let want = [swap.clone(), swap, files, away].concat();
        until("all is heard", || (log(&world).len() >= before + want.len()).then_some(()));
        assert_eq!(log(&world)[before..], want, "{pause:?}");
    }
    let before = log(&world).len();
    fs::remove_dir_all(at("a")).expect("rm -r");
    heard(&world, "d DELETE/ a");
    let gone =
        ["d DELETE/ a", "d/a DELETE 2", "d/a DELETE/ b", "d/a/b DELETE 1", "d/a/b DELETE/ c", "d/a/b/c DELETE f"];
    assert_eq!(sorted(log(&world).split_off(before)), gone);
    fs::write(world.path("p/log.stop"), "").expect("write");
    assert_eq!(live.end().code(), Some(0));
    world.assert_clean();
}

/// The same program, here and in the guest, hears the same of what is done beside it. Through Apple's share all but one thing:
/// a file with two names may come back under the other one.
#[test]
fn what_the_guest_does_itself_is_heard_once() {
    let script = "ls -lR d >/dev/null; python3 watcher.py log d & until [ -s log ]; do sleep 0.05; done; \
                  : > d/a; echo x > d/b; echo y >> d/b; mv d/b d/c; touch d/a; chmod 600 d/a; mkdir d/e; echo s > d/t; mv d/t d/f; \
                  rm d/c; rmdir d/e; LINK; ln -s x d/s; truncate -s 1 d/f; sleep 2; : > log.stop; wait";
    let script = &script.replace("LINK", if apple() { ":" } else { "ln d/f d/l" });
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
    let want: &[&str] =
        if apple() { &["d ATTRIB x", "d CLOSE_WRITE x"] } else { &["d CREATE x", "d MODIFY x", "d CLOSE_WRITE x"] };
    assert_eq!(hear(true), want);
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
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let world = world(user());
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
    let world = world(user());
    let (directories, files) = if full() { (1000, 100) } else { (100, 50) };
    for n in 0..directories {
        let dir = world.path(&format!("p/d/t/{n}"));
        fs::create_dir_all(&dir).expect("mkdir");
        (0..files).for_each(|m| fs::write(dir.join(m.to_string()), "before").expect("write"));
    }
    let names = 1 + picture(&world.path("p/d")).len();
    world.give("p");
    let mut live = world.start(
        "find d | wc -l; (while [ ! -s log ]; do sleep 0.05; done; touch ready) & exec python3 watcher.py log d/t/*",
    );
    for n in 0..directories {
        edit(&world.path(&format!("p/d/t/{n}/{}", n % files)), "after!");
    }
    let count = |what: &str| log(&world).iter().filter(|line| line.contains(what)).count();
    until("all are heard", || (count(" CLOSE_WRITE ") >= directories).then_some(()));
    fs::remove_file(world.path(&format!("p/d/t/{}/0", directories - 1))).expect("rm");
    let gone = format!("d/t/{} {}", directories - 1, if apple() { "ATTRIB/ " } else { "DELETE 0" });
    heard(&world, &gone);
    fs::write(world.path("p/log.stop"), "").expect("write");
    let done = live.end();
    assert_eq!((done.code(), done.out()), (Some(0), format!("{names}\n")), "{done:?}");
    let changed = if apple() { "ATTRIB" } else { "MODIFY" };
    let want: std::collections::BTreeSet<String> = (0..directories)
        .flat_map(|n| [changed, "CLOSE_WRITE"].map(|what| format!("d/t/{n} {what} {}", n % files)))
        .chain([gone])
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
