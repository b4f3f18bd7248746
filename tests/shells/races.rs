//! Two enrollments at once, and a directory that changes under the decision.

use crate::world::{VMCLAUDE, World};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use vmclaude::enrollment::{Project, open_root};
use vmclaude::host::{Dirs, Host, Name};

/// 1,000 enrollments, half by each of two shells, a reader between them all the while.
#[test]
fn two_shells_enroll_a_thousand_directories_and_no_line_is_lost() {
    let world = World::new();
    let enroll = |from: usize| {
        let script = format!(
            r#"i={from}; while [ $i -lt 1000 ]; do mkdir "$W/x/$i" && '{VMCLAUDE}' enroll "$W/x/$i" 2>/dev/null || exit 1; i=$((i+2)); done"#
        );
        let mut shell = world.shell(&["sh", "-c"]);
        shell.arg(script);
        world.clean(&mut shell).spawn().expect("sh")
    };
    let mut writers = [enroll(0), enroll(1)];
    let mut reads = 0;
    while writers.iter_mut().any(|w| w.try_wait().expect("wait").is_none()) {
        let done = world.run(world.shell(&["sh", "-c"]).arg(r#"cd "$T/sub" && "$S/where""#));
        assert_eq!(done.out, format!("{}\n", world.path("tr ee").display()), "half a registry: {}", done.err);
        reads += 1;
    }
    for writer in &mut writers {
        assert!(writer.wait().expect("wait").success());
    }
    assert!(reads > 0);
    let listed = world.run(Command::new(VMCLAUDE).arg("list"));
    assert_eq!(listed.out.lines().filter(|l| l.starts_with("ok ")).count(), 1001, "{}", listed.err);
}

/// The seam between decision and mount: what is opened is the enrolled directory, or nothing is.
#[test]
fn a_directory_that_is_swapped_is_never_opened_in_its_place() {
    let world = World::new();
    let tree = world.path("tr ee");
    std::fs::write(tree.join("mine"), "").expect("write");
    std::fs::create_dir(world.path("evil")).expect("mkdir");
    std::os::unix::fs::symlink(world.path("evil"), world.path("evil-link")).expect("ln");
    let host = host(&world);
    let project = Project { root: tree.clone(), rest: "".into(), enrolled: true, moved_from: None };
    let (kept, stop) = (world.path("kept"), AtomicBool::new(false));
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for other in ["evil", "evil-link"] {
                    std::fs::rename(&tree, &kept).expect("mv");
                    std::fs::rename(world.path(other), &tree).expect("mv");
                    std::fs::rename(&tree, world.path(other)).expect("mv");
                    std::fs::rename(&kept, &tree).expect("mv");
                }
            }
        });
        for _ in 0..10_000 {
            match open_root(&host, &project) {
                Ok(dir) => {
                    let fd = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string());
                    assert!(fd.join("mine").exists() || cfg!(not(target_os = "linux")), "another directory was opened");
                    opened += 1;
                }
                Err(_) => refused += 1,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
}

fn host(world: &World) -> Host {
    let dir = |name: &str| world.path(name);
    let dirs =
        Dirs { state: world.state.clone(), data: dir("d"), config: dir("c"), cache: dir("k"), guest_home: dir("g") };
    Host {
        name: Name::Vmclaude,
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: Some(dir("out")),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        home: dir("ho me's"),
        exe: VMCLAUDE.into(),
        tty: [false; 3],
        closed: [false; 3],
        cores: 1,
        memory: 1 << 30,
        zone: None,
        umask: 0o022,
        dirs,
    }
}
