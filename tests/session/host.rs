//! Claude Code on this machine, as in the VM: the same program, at the same paths, with the same settings.

use crate::support::api::Api;
use crate::support::{World, image};
use nix::fcntl::{Flock, FlockArg};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const KEY: &str = "sk-ant-SECRET-of-the-test-0123456789";

/// The user's settings on both sides: tools are asked about.
pub(crate) const SETTINGS: &str = r#"{"permissions":{"defaultMode":"default","disableAutoMode":"disable"}}"#;

/// Variables for a Claude Code that talks to the stand-in and to nobody else.
pub(crate) fn quiet(api: &Api) -> Vec<(&'static str, String)> {
    vec![
        ("ANTHROPIC_API_KEY", KEY.into()),
        ("ANTHROPIC_BASE_URL", format!("http://{}", api.addr)),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
        ("CLAUDE_CODE_MAX_RETRIES", "0".into()),
        ("CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL", "1".into()),
    ]
}

/// What the guest always has (`src/plan/env.rs`), so that the host's is no other installation.
const ALWAYS: [&str; 5] = [
    "DISABLE_UPDATES=1",
    "DISABLE_INSTALLATION_CHECKS=1",
    "CLAUDE_CODE_DISABLE_AGENT_VIEW=1",
    "SHELL=/bin/bash",
    "CLAUDE_CONFIG_DIR=/home/claude/.claude",
];

/// This machine's root with another `/home/claude` and `/workspace`, where everything else is as it is: what Claude Code shows
/// of its paths needs no evening out. Its arguments: the place, the home, the workspace, and a command.
const ENTER: &str = r#"
set -e
PATH=$PATH:/usr/sbin:/sbin
top=$1 home=$2 work=$3; shift 3
mount -t tmpfs none "$top"
show() {
  if [ -L "$1" ]; then cp -P "$1" "$top$1"
  elif [ -d "$1" ]; then mkdir "$top$1"; mount --rbind "$1" "$top$1"
  fi
}
for each in /*; do case $each in /home | /workspace) ;; *) show "$each" ;; esac; done
mkdir "$top/home" "$top/workspace"
for each in /home/*; do case $each in /home/claude | '/home/*') ;; *) show "$each" ;; esac; done
mkdir "$top/home/claude"
mount --bind "$home" "$top/home/claude"
mount --bind "$work" "$top/workspace"
cd "$top"
exec chroot . sh -c 'cd /workspace && exec "$@"' sh "$@"
"#;

/// Why this machine cannot run it so.
pub(crate) fn missing() -> Option<String> {
    let runs = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        let quiet = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    if !runs("tmux", &["-V"]) {
        return Some("there is no tmux".into());
    }
    if !runs("fsck.erofs", &["-V"]) {
        return Some("there is no fsck.erofs (Debian's erofs-utils), which unpacks the image's Claude Code".into());
    }
    let mut words = unshare().to_vec();
    words.extend(["sh", "-c", "d=$(mktemp -d) && mount -t tmpfs none $d && umount $d && rmdir $d"]);
    (!runs(words[0], &words[1..])).then(|| "this user may not have mounts of its own".into())
}

fn unshare() -> &'static [&'static str] {
    match nix::unistd::geteuid().is_root() {
        true => &["unshare", "--mount", "--propagation", "private"],
        false => &["unshare", "--mount", "--map-root-user", "--propagation", "private"],
    }
}

/// The image's own Claude Code, unpacked once for each image: the directory with the program.
fn program() -> PathBuf {
    let image = image::current();
    let id = image.file_name().expect("a name").to_string_lossy().into_owned();
    let all = image::target().join("tests/claude");
    fs::create_dir_all(&all).expect("mkdir");
    let lock = fs::File::create(all.join("lock")).expect("a file");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("a lock");
    let disk = image.join("claude.erofs");
    let stamp = format!("{id} {:?}\n", fs::metadata(&disk).expect("the image's disk").modified().expect("a time"));
    let there = all.join("unpacked");
    if fs::read_to_string(all.join("which")).is_ok_and(|which| which == stamp) {
        return there.join("bin");
    }
    let _ = fs::remove_dir_all(&there);
    let mut unpack = Command::new("fsck.erofs");
    unpack.arg(format!("--extract={}", there.display())).arg(disk).stdout(Stdio::null());
    assert!(unpack.status().expect("fsck.erofs").success(), "fsck.erofs");
    fs::write(all.join("which"), stamp).expect("write");
    there.join("bin")
}

/// A script that becomes a shell in which `claude` is the host's; everything of it is in the world's directory `name`. More
/// variables, as words, come last.
pub(crate) fn shell(world: &World, name: &str, api: &Api, more: &[&str]) -> String {
    let at = |rest: &str| world.path(name).join(rest);
    for dir in ["top", "home/.claude", "workspace"] {
        fs::create_dir_all(at(dir)).expect("mkdir");
    }
    // As the guest seeds it.
    let seed = serde_json::json!({
        "hasCompletedOnboarding": true,
        "customApiKeyResponses": { "approved": [&KEY[KEY.len() - 20..]], "rejected": [] },
    });
    fs::write(at("home/.claude/.claude.json"), seed.to_string()).expect("write");
    fs::write(at("home/.claude/settings.json"), SETTINGS).expect("write");
    let enter = world.write("out/enter.sh", ENTER);
    let quoted = |path: PathBuf| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let mut words: Vec<String> = unshare().iter().map(|word| (*word).to_owned()).collect();
    words.extend(["sh".into(), quoted(enter), quoted(at("top")), quoted(at("home")), quoted(at("workspace"))]);
    let path = quoted(program());
    words.push(format!("env HOME=/home/claude PATH={path}:/usr/bin:/bin"));
    words.extend(ALWAYS.iter().map(|word| (*word).to_owned()));
    words.extend(quiet(api).iter().map(|(name, value)| format!("{name}={value}")));
    words.extend(more.iter().map(|word| (*word).to_owned()));
    words.push("bash --rcfile \"$RC\" -i".into());
    format!("exec {}", words.join(" "))
}
