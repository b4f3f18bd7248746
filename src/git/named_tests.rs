//! Against repositories of the host's git.

use super::*;
use crate::host::tests::host;
use std::fs;

/// A home, and a directory in it that is to be the project.
fn home() -> (tempfile::TempDir, Host, PathBuf) {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut host = host();
    host.home = dir.path().canonicalize().expect("real");
    let root = host.home.join("p");
    fs::create_dir(&root).expect("mkdir");
    (dir, host, root)
}

fn run(host: &Host, at: &Path, words: &[&str]) {
    let mut command = git(host).expect("git");
    assert!(command.current_dir(at).args(words).output().expect("git").status.success(), "{words:?}");
}

/// What is named, as text.
fn named(host: &Host, root: &Path) -> Vec<String> {
    let all = held(host, root).expect("all of it").into_iter();
    let named = all.filter_map(|git| if let Git::Named(path) = git { path.to_str().map(str::to_owned) } else { None });
    let mut named: Vec<String> = named.collect();
    named.sort();
    named.dedup();
    named
}

#[test]
fn hooks_and_configuration_that_are_named_in_the_project_are_found() {
    let (_dir, host, root) = home();
    fs::create_dir_all(root.join("scripts")).expect("mkdir");
    std::os::unix::fs::symlink("scripts", root.join("tools")).expect("ln");
    assert_eq!(named(&host, &root), [""; 0], "there is no repository, and nothing is configured");
    run(&host, &root, &["init", "-q"]);
    assert_eq!(named(&host, &root), [""; 0]);
    run(&host, &root, &["config", "core.hooksPath", "tools/"]);
    run(&host, &root, &["config", "--add", "include.path", "../team.gitconfig"]);
    run(&host, &root, &["config", "--add", "include.path", "/etc/elsewhere"]);
    run(&host, &root, &["config", "includeIf.onbranch:x.path", "~/p/side.gitconfig"]);
    fs::write(root.join("team.gitconfig"), "[include]\n\tpath = more/x\n").expect("write");
    fs::write(root.join("side.gitconfig"), "[core]\n\thooksPath = side-hooks\n").expect("write");
    // More than an answer of some lines, and not all of it text.
    let long = (0..100).map(|n| format!("[includeIf \"gitdir:~/{}{n}/\"]\n\tpath = /none/{n}\n", "long/".repeat(20)));
    let mut global = b"[includeIf \"gitdir:~/w\xfc/\"]\n\tpath = /x\n".to_vec();
    global.extend(long.collect::<String>().bytes());
    global.extend(b"[include]\n\tpath = p/mine\n[core]\n\thooksPath = .hooks\n");
    fs::write(host.home.join(".gitconfig"), global).expect("write");
    let want = [".hooks", "mine", "more/x", "scripts", "side-hooks", "side.gitconfig", "team.gitconfig", "tools"];
    assert_eq!(named(&host, &root), want);
}

#[test]
fn what_a_repository_names_counts_also_when_git_takes_it_for_none() {
    let (_dir, host, root) = home();
    run(&host, &root, &["init", "-q"]);
    run(&host, &root, &["config", "core.hooksPath", "tools/hooks"]);
    run(&host, &root, &["init", "-q", "nested"]);
    run(&host, &root.join("nested"), &["config", "core.hooksPath", "own"]);
    fs::create_dir_all(root.join(".git/modules/m")).expect("mkdir");
    fs::write(root.join(".git/modules/m/HEAD"), "").expect("write");
    let module = "[core]\n\tworktree = ../../../m\n\thooksPath = theirs\n";
    fs::write(root.join(".git/modules/m/config"), module).expect("write");
    let want = ["m/theirs", "nested/own", "tools/hooks"];
    assert_eq!(named(&host, &root), want);
    fs::rename(root.join(".git/refs"), root.join(".git/elsewhere")).expect("mv");
    assert_eq!(named(&host, &root), want);
}

#[test]
fn that_not_all_could_be_asked_is_said() {
    let (_dir, host, root) = home();
    run(&host, &root, &["init", "-q"]);
    run(&host, &root, &["config", "core.hooksPath", "tools/hooks"]);
    fs::write(root.join(".git/config"), "[core\n").expect("write");
    assert!(held(&host, &root).is_err(), "it cannot be read");
    fs::write(root.join(".git/config"), "").expect("write");
    assert!(held(&host, &root).is_ok());
    for n in 0..=MOST {
        fs::create_dir_all(root.join(format!("{n}/.git"))).expect("mkdir");
        fs::write(root.join(format!("{n}/.git/config")), "").expect("write");
    }
    assert!(held(&host, &root).is_err(), "there are too many");
}

#[test]
fn what_a_git_directory_outside_names_is_found_on_both_sides() {
    let (_dir, host, root) = home();
    let outside_dir = host.home.join("main.git");
    fs::create_dir(&outside_dir).expect("mkdir");
    let config = "[core]\n\thooksPath = tools\n[include]\n\tpath = local.cfg\n";
    fs::write(outside_dir.join("config"), config).expect("write");
    let one = |path: &str| vec![Git::Named(path.into())];
    assert_eq!(outside(&host, &outside_dir, &root), (one("local.cfg"), one("tools")));
}
