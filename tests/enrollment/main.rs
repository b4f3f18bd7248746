//! The verbs enroll, unenroll, list, where, route and host as programs, with a home of their own.

mod barrier;
mod moves;
mod world;

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use world::{Home, done};

#[test]
fn enrolling_says_what_the_vm_sees_and_how_to_load_the_hook() {
    let home = Home::new();
    let p = home.dir("p");
    let first = home.run(&p, &["enroll"]);
    assert_eq!((first.code, first.out.as_str()), (0, ""), "{}", first.err);
    for part in ["enrolled", "/workspace", ".vm-claude", "vmclaude hook --rc bash >> "] {
        assert!(first.err.contains(part), "{part} in {}", first.err);
    }
    std::fs::write(home.root.join("home/.bashrc"), home.run(&p, &["hook", "--rc", "bash"]).out).expect("write");
    let again = home.run(&p, &["enroll", "."]);
    assert_eq!(again.code, 0);
    assert!(again.err.contains("already") && !again.err.contains("hook"), "{}", again.err);
    let below = home.run(&home.dir("p/sub"), &["enroll"]);
    assert!(below.err.contains("lies in") && below.code == 0, "{}", below.err);
    assert_eq!(home.run(&home.dir("p/sub"), &["where"]).out, format!("{}\n", p.display()));
}

#[test]
fn names_of_any_kind_work_and_a_newline_does_not() {
    let home = Home::new();
    for name in ["a:b", "a,b", "a b", "it's \"q\"", "back\\slash", "tab\there", "-dash", "ü"] {
        let dir = home.dir(name);
        let done = home.run(&home.root, &["enroll", "--", &format!("./{name}")]);
        assert_eq!(done.code, 0, "{name}: {}", done.err);
        assert_eq!(home.run(&dir, &["where"]).out, format!("{}\n", dir.display()));
    }
    let done = home.run(&home.dir("new\nline"), &["enroll"]);
    assert_eq!(done.code, 78);
    assert!(done.err.contains("newline") && !done.err.contains("new\nline"), "{}", done.err);
}

#[test]
fn what_must_not_be_shown_is_refused_and_nothing_is_left() {
    let home = Home::new();
    let h = home.dir("home");
    home.dir("home/.ssh/keys");
    symlink(home.root.join("home/.ssh"), home.root.join("link")).expect("ln");
    std::fs::write(home.root.join("file"), "").expect("write");
    for dir in ["/", ".", "..", ".ssh", ".ssh/keys", "../link", "../file", "../missing"] {
        let done = home.run(&h, &["enroll", dir]);
        assert_eq!(done.code, 78, "{dir}: {}", done.err);
        assert!(done.err.contains("because") && done.err.contains("try: "), "{}", done.err);
    }
    assert!(!home.state().exists(), "a refusal does not even make our directory");
}

#[test]
fn below_a_repositorys_root_both_commands_are_named() {
    let home = Home::new();
    let sub = home.dir("repo/sub");
    home.dir("repo/.git");
    let done = home.run(&sub, &["enroll"]);
    assert_eq!(done.code, 64);
    assert!(done.err.contains("/repo, or vmclaude enroll --here "), "{}", done.err);
    let here = home.run(&sub, &["enroll", "--here"]);
    assert!(here.code == 0 && here.err.contains("no .git, and no CLAUDE.md from above"), "{}", here.err);
    assert_eq!(home.run(&home.root, &["enroll", "repo"]).code, 0);
    assert!(home.run(&home.dir("repo/other"), &["where"]).out.ends_with("/repo\n"));
    assert!(home.run(&sub, &["where"]).out.ends_with("/repo/sub\n"));
}

#[test]
fn unenrolling_in_another_tree_says_whose_vm_it_is_then() {
    let home = Home::new();
    let (p, sub) = (home.dir("p"), home.dir("p/sub"));
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    assert_eq!(home.run(&sub, &["enroll", "--here"]).code, 0);
    let told = home.run(&sub, &["unenroll", "--yes"]);
    assert!(told.err.contains(&format!("claude runs in a VM with {} there", p.display())), "{}", told.err);
    assert!(!told.err.contains("on the host"), "{}", told.err);
    assert!(home.run(&p, &["unenroll", "--yes"]).err.contains("claude runs on the host there"));
}

#[test]
fn leaving_the_vm_is_a_persons_word() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    for words in [&["unenroll", "--yes"][..], &["host", "-p", "x"]] {
        let done = done(home.command(&p, words).env("CLAUDECODE", "1"));
        assert_eq!(done.code, 78);
        assert!(done.err.contains("CLAUDECODE"), "{}", done.err);
    }
    assert_eq!(home.run(&p, &["host", "-p", "x"]).code, 78, "no terminal to ask on");
    assert_eq!(home.run(&p, &["unenroll"]).code, 64, "no terminal to ask on");
    let below = home.run(&home.dir("p/sub"), &["unenroll", "--yes"]);
    assert!(below.code == 64 && below.err.contains("it lies in"), "{}", below.err);
    std::fs::rename(&p, home.root.join("q")).expect("mv");
    assert_eq!(home.run(&home.root, &["unenroll", "--yes", "q"]).code, 0, "by identity");
    assert_eq!(home.run(&home.root, &["list"]).out, "");
    assert_eq!(home.run(&home.root, &["unenroll", "--yes", "q"]).code, 64);
}

#[test]
fn a_damaged_registry_stops_every_verb_and_is_not_overwritten() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let file = home.state().join("registry");
    std::fs::write(&file, "vmclaude-registry 1\n").expect("write");
    for words in [&["list"][..], &["where"], &["route", "--", "x"], &["enroll"], &["unenroll", "--yes"]] {
        let done = home.run(&p, words);
        assert_eq!(done.code, 78, "{words:?}: {}", done.err);
        assert!(done.err.contains(".damaged"), "{}", done.err);
    }
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "vmclaude-registry 1\n");
    std::fs::remove_file(&file).expect("rm");
    assert_eq!(home.run(&home.root, &["route", "--", "x"]).code, 78, "lost is not never");
    let again = home.run(&p, &["enroll"]);
    assert!(again.code == 0 && again.err.contains("was missing"), "{}", again.err);
}

#[test]
fn a_registry_that_was_lost_stays_lost_until_something_is_enrolled() {
    let home = Home::new();
    let (p, q, out) = (home.dir("p"), home.dir("q"), home.dir("out"));
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let file = home.state().join("registry");
    let old = std::fs::read(&file).expect("read");
    std::fs::remove_file(&file).expect("rm");
    std::fs::remove_file(home.state().join("hook.zsh")).expect("rm");
    // A vmclaude that is not completely installed: its enroll fails in the middle.
    let bin = home.dir("bin").join("vmclaude");
    std::fs::copy(env!("CARGO_BIN_EXE_vmclaude"), &bin).expect("cp");
    let mut incomplete = Command::new(&bin);
    incomplete.arg("enroll").current_dir(&q).env_clear().env("HOME", home.root.join("home"));
    let hook = home.run(&out, &["hook", "--install"]);
    assert_eq!(hook.code, 0, "an upgrade is possible: {}", hook.err);
    assert!(hook.err.contains("is missing") && hook.err.contains("vmclaude enroll"), "{}", hook.err);
    assert!(home.state().join("hook.zsh").is_file());
    let unenroll = home.run(&out, &["unenroll", "--yes", "."]);
    assert!(unenroll.code == 78 && unenroll.err.contains("it is missing"), "{} {}", unenroll.code, unenroll.err);
    let failed = done(&mut incomplete);
    assert!(failed.code == 78 && failed.err.contains("vmclaude-shim"), "{}", failed.err);
    for dir in [&p, &q, &out] {
        let ran = done(Command::new(home.state().join("shims/claude")).current_dir(dir).stdin(Stdio::null()));
        assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{}", ran.err);
    }
    assert!(!file.exists(), "nothing but an enrollment makes a list anew");
    std::fs::write(&file, &old).expect("write");
    assert_eq!(home.run(&p, &["where"]).code, 0, "put back is as before");
    std::fs::remove_file(&file).expect("rm");
    assert_eq!(home.run(&q, &["enroll"]).code, 0);
    assert!(home.run(&q, &["list"]).out.ends_with("/q\n"));
}

#[test]
fn completion_never_boots_a_machine() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let done = done(home.command(&p, &["route", "--", "x"]).env("COMP_LINE", "claude x"));
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (1, "", ""));
}

#[test]
fn our_own_program_is_not_enrolled() {
    let home = Home::new();
    let bin = home.dir("src/target/release");
    home.dir("src/target/lib");
    let copy = bin.join("vmclaude");
    std::fs::copy(env!("CARGO_BIN_EXE_vmclaude"), &copy).expect("cp");
    let mut command = Command::new(&copy);
    command.arg("enroll").current_dir(home.root.join("src")).env_clear().env("HOME", home.root.join("home"));
    let refused = done(&mut command);
    assert_eq!(refused.code, 78);
    assert!(refused.err.contains("a guest could replace it"), "{}", refused.err);
    // Elsewhere it may be used, but it has no shim beside it.
    let p = home.dir("p");
    let incomplete = done(command.current_dir(&p));
    assert!(incomplete.code == 78 && incomplete.err.contains("vmclaude-shim"), "{}", incomplete.err);
    assert_eq!(home.run(&p, &["list"]).out, "", "nothing was enrolled");
}

#[test]
fn completions_and_man_pages_come_from_the_definitions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&home.root, &["completions", shell]).out.contains("unenroll"));
    }
    assert_eq!(home.run(&home.root, &["man", "man"]).code, 0);
    assert!(home.root.join("man/vmclaude-enroll.1").is_file());
    assert!(home.root.join("man/vmclaude-container.1").is_file());
}

#[test]
fn hooks_can_be_put_in_place_before_anything_is_enrolled() {
    let home = Home::new();
    let done = home.run(&home.root, &["hook", "--install"]);
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, "", ""));
    for file in ["registry", "hook.zsh", "hook.bash", "hook.fish", "env.sh", "where", "shims/claude", "exe"] {
        assert!(home.state().join(file).is_file(), "{file}");
    }
    // Empty is not lost.
    assert_eq!(home.run(&home.root, &["where"]).code, 0);
    assert_eq!(home.run(&home.root, &["hook"]).code, 64);
}

#[test]
fn our_directories_are_remembered_when_home_changes() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let dirs = vmclaude::enrollment::store::dirs(&home.state()).expect("noted");
    assert_eq!(dirs.guest_home, home.root.join("home/.vm-claude"));
    assert!(dirs.data.starts_with(home.root.join("home")) && dirs.config != dirs.cache);
    let mut elsewhere = home.command(&p, &["where", "--state"]);
    assert_eq!(done(elsewhere.arg(home.state()).env("HOME", "/nowhere")).out, format!("{}\n", p.display()));
}
