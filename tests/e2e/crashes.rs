//! Whatever is killed, nothing is left and nothing is lost, and the next run works.

use crate::support::{Case, Limited, Who, World, cases, leaks, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const WRITES: &str = "echo precious > data; sync; touch ready; while :; do sleep 60; done";

fn kill_one(world: &World, which: impl Fn(&leaks::Process) -> bool) {
    // Looked up by what it runs: these are the test's own world's processes and nobody else's.
    let process = leaks::processes(world).into_iter().find(which).expect("it runs");
    kill(Pid::from_raw(process.pid), Signal::SIGKILL).expect("kill");
}

#[track_caller]
fn assert_intact(world: &World) {
    assert_eq!(fs::read_to_string(world.path("p/data")).expect("the project's file"), "precious\n");
    fs::remove_file(world.path("p/data")).expect("rm");
    until("no process is left", || leaks::processes(world).is_empty().then_some(()));
}

#[test]
fn kill_nine_of_anything() {
    for who in Who::all() {
        let world = World::new(*who);
        let mut live = world.start(WRITES);
        kill_one(&world, leaks::Process::is_machine);
        live.end().assert_failure(125, &["the virtual machine was lost", "killed by signal 9"]);
        assert_intact(&world);
        world.assert_clean();

        let mut live = world.start(WRITES);
        kill_one(&world, leaks::Process::is_share);
        live.end().assert_failure(125, &["the virtual machine was lost", "killed by signal 9"]);
        assert_intact(&world);
        world.assert_clean();

        let mut live = world.start(WRITES);
        live.signal(Signal::SIGKILL);
        assert_eq!(live.end().end(), (None, Some(9)));
        assert_intact(&world);
        let next = world.in_vm(&["sh", "-c", "ls; exit 6"]);
        assert_eq!((next.code(), next.out().as_str()), (Some(6), "ready\nsub\n"), "{next:?}");
    }
}

#[test]
fn two_sessions_in_one_project_do_not_disturb_each_other() {
    let world = World::new(Who::nth(1));
    let mut first = world.start("touch ready; until [ -e second ]; do sleep 0.2; done; exit 11");
    let second = world.vm(&["sh", "-c", "touch second; exit 12"]).done();
    assert_eq!(second.code(), Some(12), "{second:?}");
    assert_eq!(first.end().code(), Some(11));
    world.assert_clean();
}

/// A kernel that panics: its initramfs holds an `init` that ends at once, which no kernel forgives.
#[test]
fn a_kernel_panic_is_told_with_the_logs_tail() {
    let world = World::new(Who::nth(0));
    let images = world.path("home/.local/share/vmclaude/images");
    let dir = images.join(fs::read_link(images.join("current")).expect("an image"));
    let initrd = dir.join("initrd.cpio");
    fs::remove_file(&initrd).expect("rm");
    fs::write(&initrd, cpio_with_init(b"#!/nowhere\n")).expect("write");
    fs::set_permissions(&initrd, PermissionsExt::from_mode(0o644)).expect("chmod");
    restamp(&dir.join("manifest.json"), &initrd);
    let done = world.in_vm(&["true"]);
    done.assert_failure(125, &["the virtual machine was lost", "console.log: ", "Kernel panic"]);
}

/// An archive with one executable, as `cpio -H newc` writes it.
fn cpio_with_init(text: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, mode, data) in [("init", 0o100_755, text), ("TRAILER!!!", 0, &b""[..])] {
        let fields = [1, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        all.extend(b"070701");
        fields.iter().for_each(|n| all.extend(format!("{n:08X}").bytes()));
        all.extend(name.bytes().chain([0]));
        all.resize(all.len().next_multiple_of(4), 0);
        all.extend(data);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    all
}

/// Makes the manifest agree with the file, as if the image had been built so.
fn restamp(manifest: &std::path::Path, file: &std::path::Path) {
    use sha2::Digest;
    let bytes = fs::read(file).expect("read");
    let meta = fs::metadata(file).expect("meta");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(manifest).expect("read")).expect("JSON");
    let stamp = &mut json["files"]["initrd.cpio"];
    assert!(stamp.is_object(), "{json}");
    stamp["sha256"] = format!("{:x}", sha2::Sha256::digest(&bytes)).into();
    stamp["size"] = bytes.len().into();
    stamp["mtime"] = serde_json::json!([meta.mtime(), meta.mtime_nsec()]);
    stamp["inode"] = meta.ino().into();
    fs::write(manifest, serde_json::to_vec(&json).expect("JSON")).expect("write");
}

#[test]
fn names_of_any_kind_work_from_end_to_end() {
    for (n, name) in ["a:b,c d 'e' \"f\"", "-dash $(x) \\ \u{fc}\ttab"].into_iter().enumerate() {
        let world = World::new(Who::nth(n));
        fs::rename(world.path("p"), world.path(name)).expect("mv");
        std::os::unix::fs::symlink(name, world.path("p")).expect("ln");
        world.enroll();
        cases::check(&world, &[], &[Case::out("write", "pwd; echo x > written; ls", "/workspace\nsub\nwritten\n")]);
        assert_eq!(fs::read_to_string(world.path(name).join("written")).expect("read"), "x\n");
        let list = world.vmclaude(&["list"]).done();
        assert!(list.out().starts_with("ok "), "{list:?}");
    }
}
