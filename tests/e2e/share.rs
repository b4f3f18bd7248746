//! The project and the guest's home: what is written there is on the host, the user's own, and what is there is seen.

use crate::support::{Case, Limited, Who, World, cases, full, leaks, until};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

#[test]
fn the_project_is_one_and_the_same_on_both_sides() {
    for who in Who::all() {
        let world = World::new(*who);
        world.write("p/from-host", "of the host\n");
        world.write("p/sub/below", "below\n");
        symlink("from-host", world.path("p/link")).expect("ln");
        let root = world.path("p").to_str().expect("text").to_owned();
        cases::check(&world, &[], &in_the_project(&root));
        assert_on_host(&world);
    }
}

fn in_the_project(root: &str) -> Vec<Case> {
    vec![
        Case::out("where", "pwd -P", "/workspace\n"),
        Case::out(
            "the host path leads there",
            format!("cat \"{root}/from-host\"; cd \"{root}/sub\" && pwd -P"),
            "of the host\n/workspace/sub\n",
        ),
        Case::same("a link", "readlink link; cat link"),
        Case::same("names and types", "ls -1F; stat -c '%a %F %s' from-host sub"),
        Case::same("what Git remembers of a file, but for root's owner", "stat -c '%i %s %h %.Y %.Z' from-host"),
        Case::out("it is ours there", "stat -c %U from-host . sub", "claude\nclaude\nclaude\n"),
        Case::out(
            "modes",
            "umask 027; echo x > new; mkdir dir; chmod 600 sub/below; stat -c %a new dir sub/below",
            "640\n750\n600\n",
        ),
        Case::out("rename", "echo 1 > r1; echo 2 > r2; mv r1 r2; cat r2; [ ! -e r1 ]", "1\n"),
        Case::out("hard and symbolic links", "ln -s nowhere dangling; echo h > h1; ln h1 h2; stat -c %h h2", "2\n"),
        Case::out("mtime", "touch -d @1234567890.5 old; stat -c %.Y old", "1234567890.500000000\n"),
        Case::out("append and truncate", "echo a > t; echo b >> t; truncate -s 3 t; cat t", "a\nb"),
        Case::out("many names", "mkdir many; cd many; touch $(seq 500); ls | wc -l", "500\n"),
        Case::out(
            "mapped and locked",
            "python3 -c 'import mmap,fcntl\nf=open(\"m\",\"wb+\"); f.truncate(4096); fcntl.flock(f,fcntl.LOCK_EX)\nm=mmap.mmap(f.fileno(),4096); m[:3]=b\"map\"; m.flush()'; head -c 3 m",
            "map",
        ),
        Case::fails("no device", "mknod node c 1 3", "not permitted"),
        Case::out("removed", "echo > gone; rm gone; ls gone 2>/dev/null; true", ""),
        Case::out(
            "the host is not above",
            "ls -A /workspace/.. | grep -cE 'opt-bin|home-of-host'; ls /workspace/../out 2>/dev/null; true",
            "0\n",
        ),
    ]
}

fn assert_on_host(world: &World) {
    let meta = |name: &str| world.path("p").join(name).symlink_metadata().unwrap_or_else(|e| panic!("{name}: {e}"));
    for name in ["new", "dir", "r2", "dangling", "h1", "old", "many", "many/1"] {
        assert_eq!((meta(name).uid(), meta(name).gid()), world.who.ids(), "{name} belongs to the host's user");
    }
    for (name, mode) in [("new", 0o640), ("dir", 0o750), ("sub/below", 0o600)] {
        assert_eq!(meta(name).permissions().mode() & 0o7777, mode, "{name}");
    }
    let old = meta("old").modified().expect("mtime");
    assert_eq!(old, SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_500));
    assert_eq!(fs::read(world.path("p/m")).expect("read")[..3], *b"map");
    assert_eq!(fs::read_to_string(world.path("p/t")).expect("read"), "a\nb");
    assert!(!world.path("p/gone").exists() && !world.path("p/r1").exists());
    assert_eq!(fs::read_link(world.path("p/dangling")).expect("link").to_str(), Some("nowhere"));
}

#[test]
fn the_home_stays_and_the_rest_of_the_machine_does_not() {
    for who in Who::all() {
        let world = World::new(*who);
        let script = "echo kept > ~/kept; mkdir -p ~/.config/x; echo gone > /tmp/gone; pwd; umask 077; touch below-sub";
        let first = world.vm(&["bash", "-c", script]).current_dir(world.path("p/sub")).done();
        assert_eq!((first.code(), first.out().as_str()), (Some(0), "/workspace\n"), "{first:?}");
        // Without enrollment, the project is the directory in which the person stands.
        assert_eq!(fs::read_to_string(world.kept("p/sub").join("home/kept")).expect("kept"), "kept\n");
        assert_eq!(fs::metadata(world.guest_home()).expect("home").permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(world.path("p/sub/below-sub")).expect("file").permissions().mode() & 0o777, 0o600);
        // Enrolled, the tree's root is at /workspace wherever in it the person stands, and its home is another.
        world.enroll();
        assert_eq!(world.vm(&["bash", "-c", "[ -e ~/kept ] || echo kept > ~/kept"]).done().code(), Some(0));
        let second = world
            .vm(&["bash", "-c", "cat ~/kept; [ -e /tmp/gone ] || pwd; ls -1"])
            .current_dir(world.path("p/sub"))
            .done();
        assert_eq!(
            (second.code(), second.out().as_str()),
            (Some(0), "kept\n/workspace/sub\nbelow-sub\n"),
            "{second:?}"
        );
        world.assert_clean();
    }
}

/// With a descriptor for every file that the guest knows, as the share server's file system has by itself, this ends at a few
/// hundred directories: those are what a guest remembers longest. Only what is read has bytes, and a link's are in its inode: a
/// host whose disk is told of each block that is free takes far longer to remove such files than to make them.
#[test]
fn a_large_tree_with_a_small_limit() {
    let world = World::new(Who::nth(1));
    let (directories, files, limit) = if full() { (5000, 100, 4096) } else { (500, 40, 1024) };
    for n in 0..directories {
        let dir = world.path(&format!("p/t/{n}"));
        fs::create_dir_all(&dir).expect("mkdir");
        (0..files).for_each(|m| drop(fs::File::create(dir.join(m.to_string())).expect("create")));
        symlink(n.to_string(), dir.join("link")).expect("ln");
    }
    world.write("p/t/1/1", "one");
    world.write("p/t/0/0", "zero");
    let script = "find t -type f | wc -l; exec 3<t/1/1; cd t/0; find .. -name 7 -size -9 -type f | wc -l; cat <&3; echo
                  mv 0 moved && rm 1 && cat moved; echo; ls | wc -l; readlink ../*/link | sort -n | uniq | wc -l
                  rm -r ../2; ls .. | wc -l";
    let limited = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
    let mut vm = world.command("sh");
    vm.args(["-c", &limited]).arg(world.path("opt/bin/vmclaude-container")).args(["bash", "-c", script]);
    let done = vm.done();
    let all = directories * files;
    let want = format!("{all}\n{directories}\none\nzero\n{files}\n{directories}\n{}\n", directories - 1);
    assert_eq!((done.code(), done.out()), (Some(0), want), "{done:?}");
    world.assert_clean();
}

/// What the guest has forgotten is looked at a little later, more than fit a queue at a time; without another request, too.
#[test]
fn what_the_guest_removes_is_not_kept_open() {
    let world = World::new(Who::nth(0));
    let _live = world.start("mkdir many; (cd many; touch $(seq 500)); rm -r many; touch ready; exec sleep 600");
    until("nothing of it is open", || (removed(&world) == 0).then_some(()));
}

/// As it does while the host sleeps, and when somebody stops it.
#[test]
fn a_share_server_that_stood_still_goes_on() {
    use nix::sys::signal::{Signal, kill};
    let world = World::new(Who::nth(0));
    let script = "touch ready; while [ ! -e enough ]; do ls -l . >/dev/null; done; echo it is here >enough; sleep 600";
    let _live = world.start(script);
    for _ in 0..200 {
        for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
            let servers = leaks::processes(&world).into_iter().filter(leaks::Process::is_share);
            let pids: Vec<i32> = servers.map(|server| server.pid).collect();
            assert_eq!(pids.len(), 2, "one of them ended");
            pids.iter().for_each(|pid| kill(nix::unistd::Pid::from_raw(*pid), signal).expect("it lives"));
        }
    }
    world.write("p/enough", "");
    until("the guest sees and writes", || {
        fs::read_to_string(world.path("p/enough")).ok().filter(|text| text == "it is here\n")
    });
}

/// How many files the share server has open that have no name.
fn removed(world: &World) -> usize {
    let servers = leaks::processes(world).into_iter().filter(leaks::Process::is_share);
    let fds: Vec<_> =
        servers.flat_map(|s| fs::read_dir(format!("/proc/{}/fd", s.pid)).expect("fds").flatten()).collect();
    assert!(fds.len() > 10, "it is the one that works");
    let nameless = |to: &str| to.ends_with("(deleted)") && !to.starts_with("/memfd:");
    fds.iter().filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| nameless(&to.to_string_lossy()))).count()
}
