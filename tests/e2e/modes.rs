//! What other users of this machine may touch of a running session: nothing.

use crate::support::{Limited, Who, World, leaks, until};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Below the state directory, which lets nobody else in: the programs and texts that shells load, and that are no secret.
const PUBLIC: [&str; 5] = ["shims/", "hook.", "env.sh", "where", "wrapper"];

/// Everything beneath `dir` that is not its user's alone, in words, and how many things there are.
fn open(world: &World, dir: &Path, found: &mut Vec<String>) -> usize {
    let mut seen = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = path.symlink_metadata() else { continue };
        seen += 1;
        judge(world, &path, &meta, found);
        if meta.is_dir() {
            seen += open(world, &path, found);
        }
    }
    seen
}

fn judge(world: &World, path: &Path, meta: &fs::Metadata, found: &mut Vec<String>) {
    let below = path.strip_prefix(world.state()).ok().and_then(Path::to_str).unwrap_or_default();
    let public = PUBLIC.iter().any(|p| below.starts_with(p)) || meta.is_symlink();
    // A file is at most 0600, a directory or a socket at most 0700.
    let most = if public { 0o755 } else { 0o700 };
    let more = meta.mode() & 0o7777 & !most;
    if more != 0 || meta.uid() != world.who.ids().0 {
        found.push(format!("{} {:o} of {}", path.display(), meta.mode(), meta.uid()));
    }
}

/// The sockets with a name that this world's processes hold.
fn sockets(world: &World) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").expect("sockets");
    let named = |inode: &str| {
        let line = table.lines().find(|line| line.split_whitespace().nth(6) == Some(inode))?;
        line.find(" /").map(|at| PathBuf::from(&line[at + 1..]))
    };
    let held = |process: leaks::Process| {
        let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).into_iter().flatten().flatten();
        let links: Vec<PathBuf> = fds.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        links
    };
    let links = leaks::processes(world).into_iter().flat_map(held);
    let inodes = links.filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    let mut all: Vec<PathBuf> = inodes.filter_map(|inode| named(&inode)).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn nobody_else_reaches_the_sockets_records_and_disks_of_a_session() {
    for who in Who::all() {
        let world = World::new(*who);
        world.configure("[volumes]\nlocal = [\"node_modules\"]\n");
        world.write("p/.envrc", "before");
        world.enroll();
        // Not because of a careful umask: with none at all.
        let run = "umask 0; exec \"$0\" bash -c 'echo after > .envrc; touch ready node_modules/here; sleep 600'";
        let mut command = world.command("/bin/sh");
        command.args(["-c", run]).arg(world.path("opt/bin/vmclaude-container"));
        let mut live = command.live();
        until("the guest is ready", || {
            assert!(!live.has_ended(), "{:?}", live.end());
            world.path("p/ready").exists().then_some(())
        });
        let mut found = Vec::new();
        let seen = open(&world, &world.state(), &mut found);
        let run = world.state().join("run");
        for dir in [world.state(), run.clone(), world.state().join("volumes"), world.guest_home()] {
            let meta = fs::metadata(&dir).expect("a directory of ours");
            assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o700, who.ids().0), "{}", dir.display());
        }
        let sockets = sockets(&world);
        assert!(!sockets.is_empty() && seen > 10, "{sockets:?}, {seen} things: it was looked at the wrong place");
        for socket in &sockets {
            // One whose name is gone is reached by nobody any more.
            let Ok(meta) = socket.symlink_metadata() else { continue };
            assert!(meta.file_type().is_socket());
            judge(&world, socket, &meta, &mut found);
            let parent = fs::metadata(socket.parent().expect("a parent")).expect("stat");
            assert_eq!(parent.mode() & 0o077, 0, "{} lies where others look", socket.display());
        }
        println!("{seen} files and {} sockets of {who:?}", sockets.len());
        assert!(found.is_empty(), "others may touch:\n{}", found.join("\n"));
        // The control: one that is open is found.
        fs::set_permissions(&run, PermissionsExt::from_mode(0o750)).expect("chmod");
        open(&world, &world.state(), &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
        fs::set_permissions(&run, PermissionsExt::from_mode(0o700)).expect("chmod");
        assert_eq!(world.vmclaude(&["session", "stop", "--all"]).done().code(), Some(0));
        live.end();
    }
}
