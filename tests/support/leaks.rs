//! What a session may leave behind: processes that hold something of its world, mounts, sockets, files of its run.

use super::World;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A process that has to do with a world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) exe: PathBuf,
    pub(crate) cmdline: Vec<u8>,
}

impl Process {
    pub(crate) fn is_machine(&self) -> bool {
        self.exe.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"qemu-system-"))
    }

    pub(crate) fn is_share(&self) -> bool {
        self.cmdline.split(|b| *b == 0).nth(1) == Some(b"__share")
    }
}

/// The processes of our programs in this world: those that run a file of it, or hold one open. (The environment and the
/// arguments of a child of ours name nothing of it.)
pub(crate) fn processes(world: &World) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).expect("a pid");
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid != own);
    pids.filter_map(|pid| process(pid, &world.root)).collect()
}

fn process(pid: i32, root: &Path) -> Option<Process> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    // Behind the name, which may hold anything: state, parent.
    let mut rest = stat[stat.rfind(')')? + 2..].split(' ');
    let (state, parent) = (rest.next()?, rest.next()?.parse().ok()?);
    let exe = fs::read_link(dir.join("exe")).unwrap_or_default();
    let fds = fs::read_dir(dir.join("fd")).into_iter().flatten().flatten();
    let mut links = fds.filter_map(|fd| fs::read_link(fd.path()).ok()).chain([exe.clone()]);
    if state == "Z" || !links.any(|link| link.starts_with(root)) {
        return None;
    }
    let cmdline = fs::read(dir.join("cmdline")).unwrap_or_default();
    Some(Process { pid, parent, exe, cmdline })
}

/// Everything that is left, in words. What belongs to the world itself is not.
pub(crate) fn find(world: &World) -> Vec<String> {
    let mut left: Vec<String> = processes(world).iter().map(|p| format!("process {p:?}")).collect();
    let root = world.root.to_str().expect("text");
    // Both files write a space as \040.
    let escaped = root.replace(' ', "\\040");
    for table in ["/proc/self/mountinfo", "/proc/net/unix"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        left.extend(text.lines().filter(|l| l.contains(root) || l.contains(&escaped)).map(|l| format!("{table}: {l}")));
    }
    let run = world.state().join("run");
    left.extend(fs::read_dir(run).into_iter().flatten().flatten().map(|e| format!("file {}", e.path().display())));
    sockets(&world.root, &mut left);
    left.extend(super::apple::containers(world).iter().map(|name| format!("container {name}")));
    left
}

fn sockets(dir: &Path, left: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_socket() || entry.file_name() == "core" && !dir.ends_with("bin") {
            left.push(format!("file {}", entry.path().display()));
        }
        if kind.is_dir() {
            sockets(&entry.path(), left);
        }
    }
}
