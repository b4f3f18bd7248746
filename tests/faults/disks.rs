//! Disks that are full: a small file system over one directory at a time, in a mount namespace of its own.

use crate::case::{Case, Lab, Outcome};
use crate::support::Limited;

/// Directories below the home that are ours.
const DIRS: &[&str] = &[".local/state/vmclaude/run", ".local/state/vmclaude/ended", ".vm-claude", ".cache"];

/// Mounts a file system of one page and fills it.
const FULL: &str = r#"mount -t tmpfs -o size=4k,mode=700,uid=$2,gid=$3 full "$1" &&
    { head -c 4096 /dev/zero >"$1/fill" 2>/dev/null; chown "$2:$3" "$1/fill"; }"#;

/// The same for our state, of which must be there what says where claude runs.
const FILLED: &str = r#"tar -C "$1" --exclude=./run --exclude=./ended --exclude=./review --exclude=./volumes -cf "$1.all" . &&
    mount -t tmpfs -o size=16m,mode=700,uid=$2,gid=$3 full "$1" && tar -C "$1" -xf "$1.all" && rm "$1.all" &&
    { head -c 16777216 /dev/zero >"$1/fill" 2>/dev/null; chown "$2:$3" "$1/fill"; }"#;

pub(crate) fn cases() -> Vec<Case> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped full_disks: mounting one needs root");
        return Vec::new();
    }
    let all = DIRS.iter().map(|dir| (*dir, FULL)).chain([(".local/state/vmclaude", FILLED)]);
    all.map(|(dir, how)| Case::new(format!("the disk of {dir}"), "error: full", move |lab| full(lab, dir, how)))
        .collect()
}

fn full(lab: &Lab, dir: &str, how: &str) -> Result<Outcome, String> {
    let dir = lab.world.path("home").join(dir);
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    lab.world.give("home");
    let done = lab.elsewhere(how, &dir).done();
    match done.code() {
        Some(99) => Err(format!("cannot mount: {done:?}")),
        _ => Ok(Outcome::Ended(done)),
    }
}
