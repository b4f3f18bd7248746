//! What is wrong is told once, with why and what to type, and nothing is started or left. None of these boots a VM.

use crate::support::{Done, Limited, Who, World};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

/// One message with this code, and nothing left.
#[track_caller]
fn refused(world: &World, done: &Done, code: i32, words: &[&str]) {
    done.assert_failure(code, words);
    assert!(done.out.is_empty(), "{done:?}");
    world.assert_clean();
}

#[test]
fn no_image_and_a_damaged_one() {
    for who in Who::all() {
        let world = World::bare(*who);
        refused(&world, &world.in_vm(&["true"]), 125, &["there is no image", "vmclaude image build"]);
        let world = World::new(*who);
        let images = world.path("home/.local/share/vmclaude/images");
        let initrd = images.join("current/initrd.cpio");
        let mut bytes = fs::read(&initrd).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&initrd).expect("rm");
        fs::write(&initrd, bytes).expect("write");
        fs::set_permissions(&initrd, PermissionsExt::from_mode(0o644)).expect("chmod");
        refused(&world, &world.in_vm(&["true"]), 125, &["the image is damaged", "initrd.cpio", "vmclaude image build"]);
        fs::write(&initrd, "short").expect("write");
        refused(&world, &world.in_vm(&["true"]), 125, &["the image is damaged", "5 bytes"]);
        fs::remove_file(&initrd).expect("rm");
        refused(&world, &world.in_vm(&["true"]), 125, &["the image is damaged", "initrd.cpio"]);
        fs::write(images.join("current/manifest.json"), "{").expect("write");
        refused(&world, &world.in_vm(&["true"]), 125, &["the image is damaged", "manifest.json"]);
    }
}

#[test]
fn no_qemu() {
    let world = World::new(Who::nth(0));
    world.configure("qemu = '/nonexistent/qemu'\n");
    refused(&world, &world.in_vm(&["true"]), 125, &["/nonexistent/qemu", "config.toml"]);
    world.configure("qemu = 'qemu'\n");
    refused(&world, &world.in_vm(&["true"]), 64, &["absolute"]);
    // One that is there and no QEMU.
    world.program("opt/not-qemu", "#!/bin/sh\necho 'no machine here' >&2\nexit 3\n");
    world.configure(&format!("qemu = \"{}\"\n", world.path("opt/not-qemu").display()));
    let done = world.in_vm(&["true"]);
    assert_eq!(done.code(), Some(125), "{done:?}");
    assert!(done.err().contains("exited with 3") && done.err().contains("no machine here"), "{done:?}");
}

#[test]
fn settings_that_make_no_sense() {
    let world = World::new(Who::nth(1));
    for (name, value) in [("VMCLAUDE_MEMORY", "1Z"), ("VMCLAUDE_MEMORY", "64M"), ("VMCLAUDE_CPUS", "0")] {
        let done = world.vm(&["true"]).env(name, value).done();
        refused(&world, &done, 64, &[name, value]);
    }
    for name in ["VMCLAUDE_MEMORY", "VMCLAUDE_CPUS"] {
        let done = world.vm(&["true"]).env(name, OsStr::from_bytes(b"2\xff")).done();
        refused(&world, &done, 64, &[name, "2\u{fffd}"]);
    }
    for (text, word) in [
        ("memry = '2G'\n", "memry"),
        ("memory = 5\n", "memory"),
        ("memory = '100T'\n", "100T"),
        ("[network]\nallow_hosts = ['nonsense']\n", "nonsense"),
        ("[ports]\nforward = [0]\n", "no port"),
        ("[env]\npass = ['A=1']\n", "A=1"),
        ("[projects.shop]\nhome = 'shared'\n", "absolute"),
        ("= = =\n", "line 1"),
    ] {
        world.configure(text);
        refused(&world, &world.in_vm(&["true"]), 64, &["cannot use", "config.toml", word]);
    }
    world.configure("");
    let done = world.vm(&["--allow-host", "nonsense", "true"]).done();
    assert_eq!(done.code(), Some(64), "{done:?}");
}

#[test]
fn a_directory_that_vanished_or_cannot_be_shown() {
    for who in Who::all() {
        let world = World::new(*who);
        let v = world.path("opt/bin/vmclaude-container");
        let done = world.command("sh").args(["-c", "mkdir x && cd x && rmdir ../x && exec \"$0\" true"]).arg(&v).done();
        refused(&world, &done, 78, &[]);
        let done = world.vm(&["--allow-host", "127.0.0.1:3128", "true"]).done();
        refused(&world, &done, 64, &["127.0.0.1:3128", "vmclaude's own proxy"]);
        let mut dirs = vec![
            "/".into(),
            "/proc".into(),
            "/dev".into(),
            world.path("home"),
            world.path(""),
            world.path("home/.vm-claude"),
        ];
        fs::create_dir_all(world.path("home/.vm-claude")).expect("mkdir");
        for odd in [&b"p/new\nline"[..], b"p/no-text-\xff"] {
            let odd = world.path("").join(OsStr::from_bytes(odd));
            fs::create_dir_all(&odd).expect("mkdir");
            dirs.push(odd);
        }
        world.give("");
        for dir in dirs {
            let done = world.vm(&["true"]).current_dir(&dir).done();
            refused(&world, &done, 78, &["refusing to show"]);
        }
    }
}

/// What a shell does before it starts the program.
fn after(world: &World, line: &str) -> Done {
    let v = world.path("opt/bin/vmclaude-container");
    world.command("bash").args(["-c", &format!("set -- true; {line}; exec \"$0\" bash -c \"$1\"")]).arg(v).done()
}

#[test]
fn limits_and_rights_that_leave_no_room() {
    let Some(who) = Who::all().iter().find(|who| who.ids().0 != 0) else {
        println!("skipped limits_and_rights_that_leave_no_room: root has no limits");
        return;
    };
    let world = World::new(*who);
    refused(&world, &after(&world, "ulimit -u 1"), 125, &["cannot start a thread", "ulimit -u"]);
    let done = after(&world, "umask 777; set -- umask");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "0777\n"), "it is the command's alone: {done:?}");
    refused(&world, &after(&world, "export HOME=here"), 125, &["home directory", "export HOME="]);
    let home = world.path("home/.vm-claude");
    // What the first of them had made.
    fs::remove_dir_all(&home).expect("rm");
    std::os::unix::fs::symlink("elsewhere", &home).expect("ln");
    fs::create_dir_all(world.path("home/elsewhere")).expect("mkdir");
    world.give("home");
    refused(&world, &world.in_vm(&["true"]), 78, &[".vm-claude is a link", "ls -l"]);
    fs::remove_file(&home).expect("rm");
    fs::write(&home, "").expect("write");
    refused(&world, &world.in_vm(&["true"]), 125, &["cannot create", ".vm-claude", "ls -ld"]);
}

#[test]
fn a_limit_of_the_size_of_files_is_lifted_or_told() {
    let world = World::new(Who::all()[0]);
    let done = after(&world, "ulimit -S -f 1024; set -- 'head -c 3M /dev/zero >big; stat -c %s big'");
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "3145728\n"), "{done:?}");
    refused(&world, &after(&world, "ulimit -f 1024"), 125, &["cannot make files as large", "ulimit -f unlimited"]);
}

#[test]
fn an_unreadable_project() {
    let Some(who) = Who::all().iter().find(|who| who.ids().0 != 0) else {
        println!("skipped an_unreadable_project: root reads everything");
        return;
    };
    let world = World::new(*who);
    fs::set_permissions(world.path("p"), PermissionsExt::from_mode(0o311)).expect("chmod");
    let done = world.vm(&["ls"]).done();
    // Whether the guest starts or not, it says so and leaves nothing.
    assert!(done.code().is_some_and(|c| c != 0), "{done:?}");
    assert!(done.err().contains("ermission denied"), "{done:?}");
    world.assert_clean();
}

#[test]
fn a_registry_that_cannot_be_trusted_stops_everything() {
    for who in Who::all() {
        let world = World::new(*who);
        world.enroll();
        let registry = world.state().join("registry");
        let shim = world.state().join("shims/claude");
        let good = fs::read(&registry).expect("read");
        let everywhere = || {
            for dir in ["p", "p/sub", "out"] {
                for done in [
                    world.command(&shim).arg("x").current_dir(world.path(dir)).done(),
                    world.vm(&["true"]).current_dir(world.path(dir)).done(),
                    world.vmclaude(&["-p", "x"]).current_dir(world.path(dir)).done(),
                ] {
                    refused(&world, &done, 78, &["registry"]);
                }
            }
        };
        for damage in [&b"vmclaude-registry 1\n"[..], b"", b"\0\xff", &good[..good.len() - 1]] {
            fs::write(&registry, damage).expect("write");
            everywhere();
        }
        fs::write(&registry, &good).expect("write");
        fs::set_permissions(&registry, PermissionsExt::from_mode(0o666)).expect("chmod");
        everywhere();
        fs::set_permissions(&registry, PermissionsExt::from_mode(0o600)).expect("chmod");
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&registry, Some(4242), Some(4242)).expect("chown");
            everywhere();
            world.give("home");
            std::os::unix::fs::chown(&registry, Some(who.ids().0), Some(who.ids().1)).expect("chown");
        }
        fs::remove_file(&registry).expect("rm");
        everywhere();
    }
}
