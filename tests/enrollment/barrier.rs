//! The second barrier: what Claude Code's hook asks, and how that comes into its settings and out again.

use crate::world::{Done, Home, done};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_guard_stops_claude_code_in_a_tree_and_when_in_doubt() {
    let home = Home::new();
    let (p, out) = (home.dir("p"), home.dir("out"));
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let guard = |dir: &Path, input: &str| {
        let file = home.root.join("input");
        std::fs::write(&file, input).expect("write");
        let mut command = home.command(dir, &["guard"]);
        done(command.stdin(std::fs::File::open(file).expect("open")))
    };
    let named = format!("{{\"cwd\": \"{}\", \"prompt\": \"x\"}}", p.display());
    assert_eq!(guard(&p, "").code, 2);
    assert_eq!(guard(&out, &named).code, 2);
    assert!(guard(&out, &named).err.contains("is enrolled"));
    for input in ["", "{}", "nonsense", "{\"cwd\": \"/missing\"}"] {
        assert_eq!(guard(&out, input).code, 0, "{input}");
    }
    std::fs::write(home.state().join("registry"), "").expect("write");
    assert_eq!(guard(&out, "").code, 2);
}

/// What Claude Code would run, as it runs it.
fn ask(dir: &Path, command: &str) -> Done {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).current_dir(dir).env_clear().env("HOME", "/nowhere").stdin(Stdio::null());
    done(&mut shell)
}

#[test]
fn the_second_barrier_is_put_into_claude_codes_settings_and_taken_out() {
    let home = Home::new();
    let p = home.dir("p");
    let settings = home.dir("home/.claude").join("settings.json");
    let text = || std::fs::read_to_string(&settings).expect("read");
    let status = |field: &str| {
        let out = home.run(&p, &["status", "--json"]).out;
        serde_json::from_str::<serde_json::Value>(&out).expect("JSON")["shell"][field].clone()
    };
    let before = "{\n  \"model\": \"opus\",   \"hooks\": { \"Stop\": [] }\n}\n";
    std::fs::write(&settings, before).expect("write");
    std::fs::set_permissions(&settings, PermissionsExt::from_mode(0o640)).expect("chmod");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    assert_eq!((text().as_str(), status("guard")), (before, false.into()), "nobody was asked");
    let told = home.run(&p, &["guard", "--install"]);
    assert_eq!((told.code, told.out.as_str()), (0, ""), "{}", told.err);
    assert_eq!(status("guard"), true);
    assert_eq!(settings.metadata().expect("there").permissions().mode() & 0o7777, 0o640);
    let with = text();
    assert_eq!(home.run(&p, &["guard", "--install"]).code, 0);
    assert_eq!(text(), with, "twice is once");
    // Stopped in the tree, and also when vmclaude is gone.
    let value: serde_json::Value = serde_json::from_str(&with).expect("JSON");
    for event in ["UserPromptSubmit", "PreToolUse"] {
        let command = value["hooks"][event][0]["hooks"][0]["command"].as_str().expect("a command");
        assert_eq!(ask(&p, command).code, 2);
        assert_eq!(ask(&home.dir("out"), command).code, 0);
        let gone = command.replace(env!("CARGO_BIN_EXE_vmclaude"), "/nowhere/vmclaude");
        assert_ne!(gone, command);
        assert_eq!(ask(&home.dir("out"), &gone).code, 2, "a hook that cannot start stops nothing by itself");
    }
    let claude = done(home.command(&p, &["guard", "--remove"]).env("CLAUDECODE", "1"));
    assert_eq!((claude.code, text()), (78, with), "not Claude's to say");
    assert_eq!(home.run(&p, &["guard", "--remove"]).code, 0);
    assert_eq!((text().as_str(), status("guard")), (before, false.into()));
    assert_eq!(home.run(&p, &["guard", "--remove"]).code, 0);
}

#[test]
fn settings_that_cannot_be_changed_stay_as_they_are() {
    let home = Home::new();
    let p = home.dir("p");
    let settings = home.dir("home/.claude").join("settings.json");
    for (text, mode, why) in [("not JSON", 0o644, "line 1"), ("{}", 0o444, "read-only"), ("[]", 0o600, "an object")] {
        std::fs::write(&settings, text).expect("write");
        std::fs::set_permissions(&settings, PermissionsExt::from_mode(mode)).expect("chmod");
        let done = home.run(&p, &["guard", "--install"]);
        assert_eq!(done.code, 78, "{text}: {}", done.err);
        for part in [why, "because", "try: ", "guard --state"] {
            assert!(done.err.contains(part), "{part} in {}", done.err);
        }
        assert_eq!(std::fs::read_to_string(&settings).expect("read"), text);
        std::fs::remove_file(&settings).expect("rm");
    }
    // A link stays a link; what was not there is made, and goes away again.
    std::fs::write(home.dir("dotfiles").join("claude.json"), "{\"a\": 1}").expect("write");
    symlink(home.root.join("dotfiles/claude.json"), &settings).expect("ln");
    assert_eq!(home.run(&p, &["guard", "--install"]).code, 0);
    assert!(settings.is_symlink());
    assert!(std::fs::read_to_string(home.root.join("dotfiles/claude.json")).expect("read").contains("guard"));
    assert_eq!(home.run(&p, &["guard", "--remove"]).code, 0);
    assert_eq!(std::fs::read_to_string(home.root.join("dotfiles/claude.json")).expect("read"), "{\"a\": 1}");
    for empty in ["{}", "{}\n"] {
        std::fs::write(home.root.join("dotfiles/claude.json"), empty).expect("write");
        for verb in ["--install", "--remove", "--install", "--remove"] {
            let done = home.run(&p, &["guard", verb]);
            assert_eq!(done.code, 0, "{verb}: {}", done.err);
        }
        assert_eq!(std::fs::read_to_string(&settings).expect("the link leads there still"), empty);
    }
    std::fs::remove_file(home.root.join("dotfiles/claude.json")).expect("rm");
    assert_eq!(home.run(&p, &["guard", "--install"]).code, 78, "a link into nothing");
    let elsewhere = |words: &[&str]| done(home.command(&p, words).env("CLAUDE_CONFIG_DIR", home.root.join("config")));
    assert_eq!(elsewhere(&["guard", "--install"]).code, 0);
    assert!(home.root.join("config/settings.json").is_file());
    assert_eq!(elsewhere(&["guard", "--remove"]).code, 0);
    assert!(!home.root.join("config/settings.json").exists());
}

#[test]
fn what_a_person_asked_for_passes_the_second_barrier_in_that_tree_only() {
    let home = Home::new();
    let (p, q) = (home.dir("p"), home.dir("q"));
    for dir in [&p, &q] {
        assert_eq!(home.run(dir, &["enroll"]).code, 0);
    }
    for (dir, code) in [(&p, 0), (&q, 2)] {
        assert_eq!(done(home.command(dir, &["guard"]).env("VMCLAUDE_HOST", &p)).code, code);
    }
}
