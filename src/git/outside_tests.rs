//! Which pointers are followed: those of git's own making, and no other.

use super::*;
use crate::host::tests::host;
use std::os::unix::fs::symlink;
use std::process::Command;

struct Repositories {
    _dir: tempfile::TempDir,
    at: PathBuf,
    host: Host,
}

impl Repositories {
    /// A repository with a linked worktree and a submodule.
    fn new() -> Repositories {
        let dir = tempfile::tempdir().expect("tempdir");
        let at = dir.path().canonicalize().expect("real");
        let mut host = host();
        host.home = at.join("home");
        host.uid = nix::unistd::geteuid().as_raw();
        let new = Repositories { _dir: dir, at, host };
        for name in ["home", "main", "sub", "super", "plain"] {
            std::fs::create_dir(new.at.join(name)).expect("mkdir");
        }
        for name in ["main", "sub", "super"] {
            new.git(name, &["init", "-q"]);
            new.git(name, &["commit", "-q", "--allow-empty", "-m", "x"]);
        }
        new.git("main", &["worktree", "add", "-q", "../linked"]);
        new.git("super", &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../sub", "libs/sub"]);
        new
    }

    fn git(&self, dir: &str, words: &[&str]) {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.at)
            .current_dir(self.at.join(dir));
        for name in ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"] {
            command.env(name, "x");
        }
        let out = command.args(words).output().expect("git");
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn look(&self, dir: &str) -> Result<Option<Outside>, String> {
        outside(&self.host, &self.at.join(dir))
    }

    fn point(&self, dir: &str, to: &str) {
        std::fs::write(self.at.join(dir).join(".git"), format!("gitdir: {to}\n")).expect("write");
    }
}

#[test]
fn a_worktrees_and_a_submodules_directory_are_found() {
    let all = Repositories::new();
    assert_eq!(all.look("main"), Ok(None));
    assert_eq!(all.look("plain"), Ok(None), "no repository at all");
    assert_eq!(all.look("super"), Ok(None), "its modules are inside");
    let linked = all.look("linked").expect("good").expect("outside");
    assert_eq!((linked.dir.clone(), linked.link()), (all.at.join("main/.git"), None));
    let protected = linked.protected(&all.host, &Protect::default(), &all.at.join("linked"), "workspace");
    for path in ["config", "hooks", "commondir", "worktrees/linked/gitdir"] {
        assert!(protected.iter().any(|p| p.tag == "git" && p.path == Path::new(path)), "{path} in {protected:?}");
    }
    let sub = all.look("super/libs/sub").expect("good").expect("outside");
    assert_eq!(sub.dir, all.at.join("super/.git/modules/libs/sub"));
    assert_eq!(sub.link(), Some(("/.git/modules/libs/sub".into(), sub.dir.clone())), "{:?}", sub.pointer);
}

#[test]
fn a_pointer_that_somebody_made_up_is_not_followed() {
    let all = Repositories::new();
    let real = all.at.join("main/.git/worktrees/linked");
    for (to, why) in [
        (all.at.join("main/.git").display().to_string(), "point back"),
        (real.display().to_string(), "point back"),
        (all.at.join("super/.git/modules/libs/sub").display().to_string(), "point back"),
        (all.at.join("home").display().to_string(), "point back"),
        ("/".to_owned(), "point back"),
        ("../nowhere".to_owned(), "nowhere"),
        (String::new(), "nowhere"),
        ("a\u{1b}[31m".to_owned(), "nowhere"),
    ] {
        all.point("plain", &to);
        let refused = all.look("plain").expect_err(&to);
        assert!(refused.contains(why), "{to}: {refused}");
    }
    // A worktree's directory that points back, among files that are no repository.
    let fake = all.at.join("fake/worktrees/x");
    std::fs::create_dir_all(&fake).expect("mkdir");
    std::fs::write(fake.join("commondir"), "../..\n").expect("write");
    std::fs::write(fake.join("gitdir"), format!("{}/plain/.git\n", all.at.display())).expect("write");
    all.point("plain", fake.to_str().expect("text"));
    assert!(all.look("plain").expect_err("no repository").contains("no git directory"));
    // The same in the directory that holds keys.
    let keys = all.at.join("home/.ssh");
    std::fs::create_dir_all(&keys).expect("mkdir");
    for (name, text) in [("HEAD", "x"), ("objects/x", ""), ("refs/x", "")] {
        std::fs::create_dir_all(keys.join(name).parent().expect("a parent")).expect("mkdir");
        std::fs::write(keys.join(name), text).expect("write");
    }
    std::fs::rename(all.at.join("fake/worktrees"), keys.join("worktrees")).expect("mv");
    all.point("plain", keys.join("worktrees/x").to_str().expect("text"));
    assert!(all.look("plain").expect_err("keys").contains("credentials"));
    // A link, a directory and a pipe are no pointers.
    std::fs::remove_file(all.at.join("plain/.git")).expect("rm");
    symlink(all.at.join("linked/.git"), all.at.join("plain/.git")).expect("ln");
    assert_eq!(all.look("plain"), Ok(None));
    std::fs::remove_file(all.at.join("plain/.git")).expect("rm");
    nix::unistd::mkfifo(&all.at.join("plain/.git"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(all.look("plain"), Ok(None));
}

#[test]
fn a_pointer_that_changed_since_it_was_pinned_is_not_followed() {
    let all = Repositories::new();
    let state = all.at.join("home");
    let linked = all.look("linked").expect("good").expect("outside");
    linked.is_pinned(&state).expect("nobody has said anything yet");
    pin(&state, Some(&linked)).expect("pinned");
    linked.is_pinned(&state).expect("the same");
    all.git("super", &["worktree", "add", "-q", "--detach", "../other"]);
    let other = all.look("other").expect("good").expect("outside");
    assert!(other.is_pinned(&state).is_err(), "two projects that conspire");
    pin(&state, Some(&other)).expect("a person enrolls it");
    other.is_pinned(&state).expect("and then it counts");
}
