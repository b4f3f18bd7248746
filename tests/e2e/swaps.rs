//! A directory that is swapped for another while real machines start in it: never the wrong tree, never the host.

use crate::support::world::HOST_MARK;
use crate::support::{Limited, Who, World, until};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// It stays in the directory that was enrolled, wherever its name leads to by now.
const TYPES_CLAUDE: &str = r#"
cd p && touch ../go || exit 99
n=0
while [ $n -lt "$1" ]; do
  claude; echo "status $?"
  n=$((n + 1))
done
touch ../stop; until [ -e ../still ]; do sleep 0.01; done
claude; echo "status $?""#;

/// Puts another directory, and a link to it, in the place of the enrolled one, each for a moment.
fn swap(world: &World, swaps: &AtomicU64, over: &AtomicBool) {
    let (tree, kept) = (world.path("p"), world.path("kept"));
    let rename = |from: &Path, to: &Path| fs::rename(from, to).expect("mv");
    // Longer and shorter than the time between any two steps of a start.
    for pause in [0, 3, 40, 11, 150].into_iter().cycle().map(Duration::from_millis) {
        for other in ["evil", "evil-link"].map(|name| world.path(name)) {
            rename(&tree, &kept);
            rename(&other, &tree);
            std::thread::sleep(pause);
            rename(&tree, &other);
            rename(&kept, &tree);
            std::thread::sleep(pause);
            swaps.fetch_add(1, Ordering::Relaxed);
        }
        if over.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
fn a_swapped_directory_is_never_shown_and_never_leads_to_the_host() {
    let world = World::new(Who::nth(1));
    let claude = "#!/bin/sh\necho \"VM $(uname -n | cut -c1-8) $(ls /workspace | tr '\\n' ' ')\"\n";
    world.program("home/.vm-claude/home/.local/bin/claude", claude);
    for private in [world.guest_home(), world.guest_home().join("home")] {
        fs::set_permissions(private, PermissionsExt::from_mode(0o700)).expect("chmod");
    }
    world.configure("home = 'shared'\n");
    world.write("p/mine", "");
    world.write("evil/theirs", "");
    symlink("evil", world.path("evil-link")).expect("ln");
    world.enroll();
    #[allow(clippy::disallowed_methods)] // how many of the tests to run is no fact of the host
    let all = std::env::var_os("VMCLAUDE_TESTS").is_some_and(|which| which == "full");
    let starts = if all { 50 } else { 8 };
    let mut shell = world.command("/bin/sh");
    let shims = world.state().join("shims");
    shell.env("PATH", format!("{}:{}:/usr/bin:/bin", shims.display(), world.path("bin").display()));
    shell.args(["-c", TYPES_CLAUDE, "sh", &starts.to_string()]).current_dir(&world.root);
    // The world's user makes marks beside the tree.
    fs::set_permissions(&world.root, PermissionsExt::from_mode(0o777)).expect("chmod");
    let (swaps, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let done = std::thread::scope(|scope| {
        let mut live = shell.live();
        until("the shell stands in the tree", || world.path("go").exists().then_some(()));
        let swapper = scope.spawn(|| swap(&world, &swaps, &over));
        // Starts that are refused are quick; each that is not takes its time.
        while !world.path("stop").exists() && !live.has_ended() {
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        swapper.join().expect("the swapper");
        fs::write(world.path("still"), "").expect("write");
        live.end()
    });
    let out = done.out();
    assert!(!out.contains(HOST_MARK) && !out.contains("theirs"), "{done:?}");
    let lines = |what: &str| out.lines().filter(|line| line.starts_with(what)).count();
    let (ran, refused) = (lines("status 0"), lines("status 78") + lines("status 125"));
    assert_eq!((lines("VM vmclaude mine"), ran + refused), (ran, starts + 1), "{done:?}");
    assert!(out.trim_end().ends_with("VM vmclaude mine sub \nstatus 0"), "and when it stays, it runs: {done:?}");
    assert!(swaps.load(Ordering::Relaxed) >= starts as u64, "it was swapped at every start");
    println!("{ran} ran, {refused} refused, {} swaps", swaps.load(Ordering::Relaxed));
    fs::set_permissions(&world.root, PermissionsExt::from_mode(0o755)).expect("chmod");
    world.assert_clean();
}
