//! Directories of a project on the VM's own disk: kept, nobody else's, and out of the host's way.

use crate::support::pty::Typist;
use crate::support::{Done, Engine, Limited, Who, World, apple, leaks, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

const LOCAL: &str = "[volumes]\nlocal = [\"node_modules\", \"sub/target\"]\n";

fn world(who: Who) -> World {
    let world = World::new(who);
    world.configure(LOCAL);
    world.write("p/node_modules/of-host", "of the host\n");
    world
}

#[track_caller]
fn sh(world: &World, script: &str) -> Done {
    world.in_vm(&["bash", "-c", script])
}

#[track_caller]
fn assert_out(world: &World, script: &str, out: &str) {
    let done = sh(world, script);
    assert_eq!((done.code(), done.out().as_str()), (Some(0), out), "{done:?}");
}

/// The files of volumes: ours, or those that Apple's `container` keeps for us.
fn files(world: &World) -> Vec<PathBuf> {
    if world.engine == Engine::Apple {
        let kept = fs::read_dir(apple::service(world).join("volumes")).into_iter().flatten().flatten();
        return kept.map(|entry| entry.path().join("volume.img")).collect();
    }
    let entries = fs::read_dir(world.state().join("volumes")).into_iter().flatten().flatten().map(|e| e.path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "ext4")).collect()
}

fn status(world: &World) -> serde_json::Value {
    let done = world.vmclaude(&["status", "--json"]).done();
    serde_json::from_slice::<serde_json::Value>(&done.out).unwrap_or_else(|e| panic!("{e}: {done:?}"))["volumes"]
        .clone()
}

fn prune(world: &World) -> Done {
    world.vmclaude(&["prune", "--volumes", "--yes"]).done()
}

const FIRST: &str = "ls -A node_modules sub/target
echo kept > node_modules/f; mkdir -p 'node_modules/a b'; echo t > sub/target/t
cp /bin/true node_modules/s; chmod 4755 node_modules/s
stat -c '%U %a' node_modules sub/target
grep -c '/workspace/[a-z_/]* ext4 rw,nosuid,nodev,noatime' /proc/mounts
mv node_modules/f ./f 2>/dev/null && rm f && echo kept > node_modules/f; rmdir node_modules 2>/dev/null || echo busy";

#[test]
fn what_is_local_is_kept_and_the_hosts_own_is_hidden() {
    for who in Who::all() {
        let world = world(*who);
        let before = fs::metadata(world.path("p/node_modules")).expect("stat");
        let told = "node_modules:\n\nsub/target:\nclaude 755\nclaude 755\n2\nbusy\n";
        assert_out(&world, FIRST, told);
        assert_out(&world, "cat node_modules/f sub/target/t; ls node_modules", "kept\nt\na b\nf\ns\n");
        // On the host nothing is there but an empty directory where there was none.
        let after = fs::metadata(world.path("p/node_modules")).expect("stat");
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        assert_eq!(fs::read_dir(world.path("p/node_modules")).expect("list").count(), 1);
        assert_eq!(fs::read_to_string(world.path("p/node_modules/of-host")).expect("read"), "of the host\n");
        assert_eq!(fs::read_dir(world.path("p/sub/target")).expect("list").count(), 0);
        let made = fs::metadata(world.path("p/sub/target")).expect("stat");
        assert_eq!((made.uid(), made.mode() & 0o7777), (who.ids().0, 0o755));
        let volume = fs::metadata(&files(&world)[0]).expect("stat");
        assert_eq!((volume.uid(), volume.len()), (who.ids().0, 64 << 30));
        assert!(volume.mode() & 0o7777 == 0o600 || world.engine == Engine::Apple, "{:o}", volume.mode());
        assert!(volume.blocks() * 512 < 64 << 20, "it is sparse: {}", volume.blocks());
        let seen = status(&world);
        assert_eq!((seen["all"].as_u64(), seen["here"]["in_use"].as_bool()), (Some(1), Some(false)), "{seen}");
        assert_eq!(seen["here"]["allocated"], volume.blocks() * 512);
        assert_eq!(seen["directories"], serde_json::json!(["node_modules", "sub/target"]));
        // The volume is the directory's, wherever that is; another project has another.
        fs::rename(world.path("p"), world.path("q")).expect("mv");
        let moved = world.vm(&["cat", "sub/target/t"]).current_dir(world.path("q")).done();
        assert_eq!(moved.out(), "t\n", "{moved:?}");
        fs::create_dir(world.path("p")).expect("mkdir");
        world.give("p");
        assert_out(&world, "ls -A node_modules; ls -d node_modules", "node_modules\n");
        assert_eq!(files(&world).len(), 2);
    }
}

#[test]
fn where_one_hides_the_current_directory_it_says_so() {
    let world = world(Who::nth(1));
    world.enroll();
    world.write("p/node_modules/foo/of-host", "of the host\n");
    let inside = || world.vm(&["pwd"]).current_dir(world.path("p/node_modules/foo")).done();
    let done = inside();
    let words =
        ["cannot change to /workspace/node_modules/foo: No such file", "node_modules is on the VM's own disk", "cd "];
    done.assert_failure(125, &words);
    assert!(done.out.is_empty(), "{done:?}");
    assert_out(&world, "mkdir node_modules/foo", "");
    assert_eq!(inside().out(), "/workspace/node_modules/foo\n", "the guest has one of that name now");
}

#[test]
fn what_is_removed_comes_back_to_the_host() {
    let world = world(Who::nth(0));
    assert_out(&world, "head -c 200M /dev/urandom > node_modules/big", "");
    let taken = || fs::metadata(&files(&world)[0]).expect("stat").blocks() >> 11;
    let full = taken();
    assert_out(&world, "rm node_modules/big", "");
    assert!(full >= 200 && taken() + 180 < full, "{full} MiB, then {} MiB", taken());
}

#[test]
fn two_at_once_never_share_it_and_prune_leaves_it_alone() {
    let world = world(Who::nth(1));
    let mut first = world
        .start("echo first > node_modules/f; touch ready; until [ -e go ]; do sleep 0.1; done; cat node_modules/f");
    assert_eq!(status(&world)["here"]["in_use"], true);
    let mut typist = Typist::new(&world);
    let said = typist.step("\"$V\" sh -c 'ls -A node_modules; echo second > node_modules/f; grep -c \"/workspace/.* overlay .*nosuid,nodev\" /proc/mounts'");
    assert!(
        said.contains("node_modules, sub/target will be empty, and not kept") && said.contains("\r\n2\r\n"),
        "{said}"
    );
    let quiet = world.vm(&["ls", "-A", "node_modules"]).done();
    assert_eq!((quiet.code(), quiet.out().as_str(), quiet.err().as_str()), (Some(0), "", ""), "{quiet:?}");
    let kept = prune(&world);
    assert!(kept.code() == Some(0) && kept.err().contains("a session has the volume of"), "{kept:?}");
    world.write("p/go", "");
    assert_eq!(first.end().out(), "first\n");
    drop((first, typist));
    assert_out(&world, "cat node_modules/f", "first\n");
    // It asks, and without anybody to ask it does nothing.
    world.vmclaude(&["prune", "--volumes"]).done().assert_failure(64, &["without asking", "prune --volumes --yes"]);
    let mut typist = Typist::new(&world);
    let program = world.path("opt/bin/vmclaude").display().to_string();
    for (answer, left) in [("no", 1), ("y", 0)] {
        typist.keys(&format!("\"{program}\" prune --volumes; echo st''atus=$?\n"));
        assert!(typist.wait("[y/N] ").contains("/p"), "the project is named");
        typist.keys(&format!("{answer}\n"));
        typist.wait("status=");
        assert_eq!(files(&world).len(), left, "{answer}");
    }
    assert_out(&world, "ls -A node_modules", "");
    assert_eq!(fs::read_dir(world.path("p/node_modules")).expect("list").count(), 1);
}

#[test]
fn after_a_crash_it_is_there_and_after_damage_somebody_says_so() {
    let world = world(Who::nth(1));
    for (n, victim) in [Signal::SIGKILL; 2].into_iter().enumerate() {
        let mut live = world.start(&format!(
            "echo {n} > node_modules/{n}; sync; touch ready; while :; do echo x >> node_modules/x; done"
        ));
        let machine = leaks::processes(&world).into_iter().find(leaks::Process::is_machine).expect("it runs");
        let pid = if n == 0 { machine.pid } else { live.pid() };
        kill(Pid::from_raw(pid), victim).expect("kill");
        live.end();
        let found = world.vm(&["sh", "-c", "cat node_modules/[0-9]; grep -c '^/dev/vdd.*rw' /proc/mounts"]).done();
        let want = format!("{}3\n", ["0\n", "0\n1\n"][n]);
        assert_eq!((found.code(), found.out()), (Some(0), want), "{found:?}");
    }
    let file = &files(&world)[0];
    let opened = fs::File::options().write(true).open(file).expect("open");
    opened.write_all_at(&[0xa5; 4096], 0).expect("write");
    let refused = world.vm(&["touch", "ran"]).done();
    refused.assert_failure(125, &["the project's volume cannot be used", "vmclaude prune --volumes"]);
    assert!(refused.err().contains("e2fsck -f") || world.engine == Engine::Apple, "{refused:?}");
    assert!(!world.path("p/ran").exists() && file.exists());
    world.assert_clean();
    assert_eq!(prune(&world).code(), Some(0));
    assert_out(&world, "ls -A node_modules", "");
}

/// The link is there when the next machine starts, made by a guest.
#[test]
fn no_link_leads_the_disk_elsewhere() {
    let world = world(Who::nth(1));
    world.write("p/.git/hooks/post-checkout", "#!/bin/sh\n");
    fs::create_dir(world.path("out/secret")).expect("mkdir");
    assert_out(&world, "echo mine > node_modules/f; echo mine > sub/target/f", "");
    fs::remove_dir_all(world.path("p/node_modules")).expect("rm");
    fs::remove_dir_all(world.path("p/sub")).expect("rm");
    let plant = "ln -s .git/hooks node_modules && ln -s /etc sub && ls -l node_modules sub | wc -l";
    world.configure("");
    assert_out(&world, plant, "2\n");
    world.configure(LOCAL);
    let look =
        "grep -c /dev/vdd /proc/mounts; ls node_modules/; ls -A .git/hooks; [ -e /etc/target ] || echo untouched";
    let done = sh(&world, look);
    assert_eq!(done.out(), "1\npost-checkout\npost-checkout\nuntouched\n", "{done:?}");
    let logs = world.vmclaude(&["session", "logs"]).done().out() + &world.vmclaude(&["session", "logs"]).done().err();
    assert!(logs.contains("own disk: node_modules is a link or a file"), "{logs}");
    let mut typist = Typist::new(&world);
    let said = typist.step("\"$V\" true");
    assert!(said.contains("sub/target was not on the VM's own disk: sub is a link or a file"), "{said}");
    assert!(fs::read_link(world.path("p/sub")).is_ok(), "the host's files are as they were");
    // And what is on the disk can be a link too, for who has all of a guest's rights.
    for link in ["p/node_modules", "p/sub"] {
        fs::remove_file(world.path(link)).expect("rm");
    }
    world.configure(&format!("sudo = true\n{LOCAL}"));
    if world.engine == Engine::Apple {
        // There its root has no such rights, neither here nor by what the supervisor has.
        let done = sh(&world, "sudo mount -t tmpfs x /mnt || echo no; sudo date -s 12:00 || echo no");
        assert!(done.out().ends_with("no\n") && done.out().matches("no\n").count() == 2, "{done:?}");
        return;
    }
    assert_out(
        &world,
        "sudo sh -c 'mkdir /m && mount /dev/vdd /m && mv /m/node_modules /m/x && ln -s /etc /m/node_modules && umount /m'",
        "",
    );
    world.vm(&["true"]).done().assert_failure(125, &["the project's volume cannot be used", "node_modules"]);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let world = World::bare(Who::nth(1));
    world.write("p/.git/config", "");
    for (name, why) in [
        ("../x", "no plain path"),
        ("/etc", "no plain path"),
        ("", "no plain path"),
        (".git", "led by what is there"),
        ("a/.GIT/objects", "led by what is there"),
        (".vmclaude.toml", "led by what is there"),
    ] {
        world.configure(&format!("[volumes]\nlocal = [\"{name}\"]\n"));
        world.vm(&["true"]).done().assert_failure(64, &["cannot use", why]);
        world.configure("");
        world.write("p/.vmclaude.toml", format!("[request]\nvolumes = [\"{name}\"]\n"));
        world.vm(&["true"]).done().assert_failure(78, &["cannot use .vmclaude.toml", why]);
        fs::remove_file(world.path("p/.vmclaude.toml")).expect("rm");
    }
    for text in ["[volumes]\nlocal = [\"keys/x\"]\n[protect]\npaths = [\"keys\"]\n", "[volumes]\nsize = \"1M\"\n"] {
        world.configure(text);
        let done = world.vm(&["--dry-run", "true"]).done();
        done.assert_failure(64, &[]);
    }
    assert!(files(&world).is_empty());
}

/// What is on the user's side of the share server's rules is on this side of them too.
#[test]
fn somebody_elses_file_or_a_link_is_no_volume() {
    let world = world(Who::nth(0));
    assert_out(&world, "true", "");
    let file = files(&world).remove(0);
    let elsewhere = world.path("out/volume");
    fs::rename(&file, &elsewhere).expect("mv");
    symlink(&elsewhere, &file).expect("ln");
    world.vm(&["true"]).done().assert_failure(125, &["cannot open"]);
    fs::remove_file(&file).expect("rm");
    fs::rename(&elsewhere, &file).expect("mv");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).expect("chmod");
    world.vm(&["true"]).done().assert_failure(78, &["can be written by others"]);
    world.assert_clean();
}

/// A small disk for what is ours, so that it can be full; unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(world: &World, mib: u32) -> SmallDisk {
        let (uid, gid) = world.who.ids();
        fs::create_dir_all(world.state()).expect("mkdir");
        let options = format!("size={mib}m,mode=0700,uid={uid},gid={gid}");
        let (kind, none) = (Some("tmpfs"), nix::mount::MsFlags::empty());
        nix::mount::mount(kind, &world.state(), kind, none, Some(options.as_str())).expect("a small disk");
        SmallDisk(world.state())
    }

    /// MiB that are free.
    fn free(&self) -> u64 {
        let fs = nix::sys::statvfs::statvfs(&self.0).expect("statvfs");
        (fs.blocks_available() * fs.fragment_size()) >> 20
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

const GREEDY: &str = "touch ready
for d in node_modules /var/tmp; do head -c 2G /dev/zero > $d/big; echo $?; done 2>&1 | sed 's/.*No space.*/full/'
sync; cat /sys/fs/ext4/vd*/errors_count
touch told; while [ -e told ]; do sleep 0.1; done
until echo x > node_modules/small && sync node_modules/small; do sleep 0.1; done 2>/dev/null
until echo y > /var/tmp/small; do sleep 0.1; done 2>/dev/null
cat node_modules/small /var/tmp/small; rm node_modules/big";

/// As root: nobody else can mount a small disk here.
#[test]
fn a_host_disk_nearly_full_stops_both_disks_and_they_go_on_when_there_is_room() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    for who in Who::all() {
        let world = world(*who);
        let disk = SmallDisk::new(&world, 1000);
        // What else is on it, and goes away in the end.
        world.write("home/.local/state/vmclaude/other", vec![0; 400 << 20]);
        let mut live = world.start(GREEDY);
        until("the guest has met the end", || world.path("p/told").exists().then_some(()));
        let left = disk.free();
        assert!((64..256).contains(&left), "{left} MiB are left");
        let sessions = world.vmclaude(&["session", "list", "--json"]).done().out();
        assert!(sessions.contains("\"disk_full\": true"), "{sessions}");
        fs::remove_file(world.path("home/.local/state/vmclaude/other")).expect("rm");
        fs::remove_file(world.path("p/told")).expect("rm");
        let done = live.end();
        assert_eq!((done.code(), done.out().as_str()), (Some(0), "full\n1\nfull\n1\n0\n0\nx\ny\n"), "{done:?}");
        drop(disk);
        world.assert_clean();
    }
}
