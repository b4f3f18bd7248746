//! The verbs enroll, unenroll, list, where, route and host as programs, with a home of their own.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

struct Home {
    root: PathBuf,
    _dir: tempfile::TempDir,
}

struct Done {
    out: String,
    err: String,
    code: i32,
}

impl Home {
    fn new() -> Home {
        static SHIM: OnceLock<()> = OnceLock::new();
        SHIM.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build-shim");
            assert!(Command::new(script).status().expect("sh").success(), "tests/build-shim");
        });
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        std::fs::create_dir(root.join("home")).expect("mkdir");
        Home { root, _dir: dir }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.join(name);
        std::fs::create_dir_all(&dir).expect("mkdir");
        dir
    }

    fn command(&self, dir: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmclaude"));
        command.args(words).current_dir(dir).env_clear().stdin(Stdio::null());
        command.env("HOME", self.root.join("home")).env("PATH", "/nowhere").env("SHELL", "/bin/bash");
        command
    }

    fn run(&self, dir: &Path, words: &[&str]) -> Done {
        done(&mut self.command(dir, words))
    }

    fn state(&self) -> PathBuf {
        self.root.join("home/.local/state/vmclaude")
    }
}

fn done(command: &mut Command) -> Done {
    let out = command.output().expect("starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { out: text(out.stdout), err: text(out.stderr), code: out.status.code().unwrap_or(-1) }
}

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
fn the_list_tells_what_has_become_of_each() {
    let home = Home::new();
    for name in ["ok", "moved", "gone", "replaced"] {
        assert_eq!(home.run(&home.dir(name), &["enroll"]).code, 0);
    }
    std::fs::rename(home.root.join("moved"), home.root.join("new name")).expect("mv");
    std::fs::remove_dir(home.root.join("gone")).expect("rmdir");
    std::fs::rename(home.root.join("replaced"), home.dir("home").join("old")).expect("mv");
    home.dir("replaced");
    let answer: serde_json::Value = serde_json::from_str(&home.run(&home.root, &["list", "--json"]).out).expect("JSON");
    assert_eq!(answer["version"], 1);
    for tree in answer["trees"].as_array().expect("a list") {
        let path = tree["path"].as_str().expect("text");
        assert!(path.ends_with(tree["state"].as_str().expect("text")), "{tree}");
    }
    assert!(home.run(&home.root, &["list"]).out.contains("new name"));
    // Replaced: refused until somebody says which it is.
    let replaced = home.dir("replaced");
    assert_eq!(home.run(&replaced, &["where"]).code, 78);
    assert!(home.run(&replaced, &["enroll"]).err.contains("anew"));
    assert_eq!(home.run(&replaced, &["where"]).code, 0);
    // Moved: enrolling it where it is now forgets where it was.
    assert!(home.run(&home.root.join("new name"), &["enroll"]).err.contains("which was "));
    assert!(!home.run(&home.root, &["list"]).out.contains("/moved"));
}

#[test]
fn a_directory_that_gave_its_path_to_another_stays_enrolled_or_that_is_said() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    std::fs::rename(&p, home.root.join("p-old")).expect("mv");
    let old = home.root.join("p-old");
    home.dir("p");
    assert_eq!((home.run(&old, &["where"]).code, home.run(&p, &["where"]).code), (0, 78));
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && anew.err.contains("/p-old, and stays enrolled"), "{}", anew.err);
    for dir in [&p, &old] {
        assert_eq!(home.run(dir, &["where"]).out, format!("{}\n", dir.display()));
    }
    // Out of sight.
    std::fs::rename(&p, home.dir("home").join("p")).expect("mv");
    home.dir("p");
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && anew.err.contains("is not enrolled any more"), "{}", anew.err);
    // One that was enrolled where it is now needs no words.
    std::fs::rename(&p, home.root.join("p-third")).expect("mv");
    home.dir("p");
    assert_eq!(home.run(&home.root, &["enroll", "p-third"]).code, 0);
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && !anew.err.contains("enrolled before is"), "{}", anew.err);
    // To unenroll the path takes the word back for the directory that is not there any more.
    let q = home.dir("q");
    assert_eq!(home.run(&q, &["enroll"]).code, 0);
    std::fs::rename(&q, home.root.join("q-old")).expect("mv");
    home.dir("q");
    let gone = home.run(&q, &["unenroll", "--yes"]);
    assert!(gone.code == 0 && gone.err.contains("nor is ") && gone.err.contains("/q-old"), "{}", gone.err);
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
fn a_gone_directory_is_unenrolled_by_its_name() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    std::fs::remove_dir(&p).expect("rmdir");
    assert_eq!(home.run(&home.root, &["unenroll", "--yes", "p"]).code, 0);
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
    // What Claude Code would run, as it runs it: stopped in the tree, and also when vmclaude is gone.
    let value: serde_json::Value = serde_json::from_str(&with).expect("JSON");
    for event in ["UserPromptSubmit", "PreToolUse"] {
        let command = value["hooks"][event][0]["hooks"][0]["command"].as_str().expect("a command");
        let ask = |dir: &Path, command: &str| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", command]).current_dir(dir).env_clear().env("HOME", "/nowhere").stdin(Stdio::null());
            done(&mut shell)
        };
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
