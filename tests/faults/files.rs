//! Files of ours that are missing, empty, damaged, of the wrong kind, or hang whoever opens them.

use crate::case::{Case, Lab, Outcome};
use crate::support::Limited;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is damaged: its name in a report, and its path below the home or, of an image, in its directory.
const FILES: &[(&str, &str)] = &[
    ("registry", ".local/state/vmclaude/registry"),
    ("program's path", ".local/state/vmclaude/exe"),
    ("sessions' directory", ".local/state/vmclaude/run"),
    ("sessions' lock", ".local/state/vmclaude/run.lock"),
    ("settings", ".config/vmclaude/config.toml"),
    ("guest's home", ".vm-claude"),
    ("image's link", "IMAGES/current"),
    ("image's manifest", "IMAGE/manifest.json"),
    ("kernel", "IMAGE/vmlinux"),
    ("initrd", "IMAGE/initrd.cpio"),
    ("base", "IMAGE/base.erofs"),
    ("claude's disk", "IMAGE/claude.erofs"),
    ("scratch", "IMAGE/scratch.ext4"),
];

/// Puts something wrong in the place of a file.
type Damage = fn(&Path);

/// How.
const FAULTS: &[(&str, Damage)] = &[
    ("error: missing", |_| {}),
    ("error: empty", |path| fs::write(path, "").expect("write")),
    ("error: garbage", |path| fs::write(path, b"\0garbage\xff\n").expect("write")),
    ("error: a directory", |path| fs::create_dir(path).expect("mkdir")),
    ("error: a link to itself", |path| std::os::unix::fs::symlink(path, path).expect("ln")),
    ("hang: a pipe", |path| {
        assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
    }),
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, path) in FILES {
        for (fault, damage) in FAULTS {
            // What is made when it is not there is no fault; nor is one directory for another.
            let made = ["run", "run.lock", "config.toml", ".vm-claude"].iter().any(|end| path.ends_with(end));
            let directory = path.ends_with("run") || path.ends_with(".vm-claude");
            if made && fault.contains("missing") || directory && fault.contains("a directory") {
                continue;
            }
            // A lock is no text, and settings may be empty.
            if (path.ends_with("lock") || path.ends_with(".toml"))
                && (fault.contains("empty") || fault.contains("garbage"))
            {
                continue;
            }
            cases.push(Case::new(*name, fault, move |lab| damaged(lab, path, *damage)));
        }
    }
    cases
}

fn find(lab: &Lab, path: &str) -> PathBuf {
    let images = lab.world.path("home/.local/share/vmclaude/images");
    if let Some(name) = path.strip_prefix("IMAGES/") {
        return images.join(name);
    }
    match path.strip_prefix("IMAGE/") {
        Some(name) => images.join(fs::read_link(images.join("current")).expect("an image")).join(name),
        None => lab.world.path("home").join(path),
    }
}

fn damaged(lab: &Lab, path: &str, damage: Damage) -> Result<Outcome, String> {
    let path = find(lab, path);
    let aside = lab.world.path("out/aside");
    fs::rename(&path, &aside).map_err(|e| format!("{}: {e}", path.display()))?;
    damage(&path);
    let user = lab.world.who.ids();
    let _ = std::os::unix::fs::lchown(&path, Some(user.0), Some(user.1));
    let mut live = lab.run().live();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !live.has_ended() && std::time::Instant::now() < end {
        std::thread::yield_now();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let hangs = !live.has_ended();
    if hangs {
        live.signal(nix::sys::signal::Signal::SIGKILL);
    }
    let done = live.end();
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    fs::rename(&aside, &path).map_err(|e| format!("{}: {e}", path.display()))?;
    if hangs { Err("it hangs".to_owned()) } else { Ok(Outcome::Ended(done)) }
}
