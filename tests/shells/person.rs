//! What is asked and said on a terminal only, and shells as terminals and tmux start them.

use crate::pty::Typist;
use crate::world::{VMCLAUDE, World, shell_of};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use vmclaude::hook::start_lines;

#[test]
fn leaving_the_vm_is_asked_for() {
    let world = World::new();
    let mut t = Typist::new(&world, &["bash"]);
    t.step("cd \"$T\"");
    let mut ask = |verb: &str, answer: &str| {
        t.keys(&format!("{VMCLAUDE} {verb}\n"));
        t.wait("[y/N] ");
        t.keys(&format!("{answer}\n"));
        t.step("echo st=$?.")
    };
    let no = ask("host a 'b c'", "");
    assert!(no.contains("you did not say yes") && no.contains("st=78."), "{no}");
    let yes = ask("host a 'b c'", "y");
    assert!(yes.contains("HOST [a] [b c]") && yes.contains("st=0."), "{yes}");
    let no = ask("unenroll", "n");
    assert!(no.contains("nothing changed") && no.contains("st=64."), "{no}");
    let yes = ask("unenroll", "y");
    assert!(yes.contains("is not enrolled any more") && yes.contains("st=0."), "{yes}");
}

#[test]
fn a_repositorys_root_is_proposed() {
    let listed = enrolled_below_a_root("zsh", "\n");
    assert!(listed.contains("/out\n"), "{listed}");
}

#[test]
fn a_no_to_the_repositorys_root_enrolls_what_was_typed() {
    let listed = enrolled_below_a_root("fish", "n\n");
    assert!(listed.contains("/out/sub\n") && !listed.contains("/out\n"), "{listed}");
}

/// What is enrolled once a person has typed `enroll` below a repository's root, and then this.
fn enrolled_below_a_root(shell: &str, answer: &str) -> String {
    let world = World::new();
    std::fs::create_dir_all(world.path("out/.git")).expect("mkdir");
    std::fs::create_dir_all(world.path("out/sub")).expect("mkdir");
    let mut t = Typist::new(&world, &[shell]);
    t.keys(&format!("cd \"$O/sub\"; {VMCLAUDE} enroll\n"));
    t.wait("instead? [Y/n] ");
    t.keys(answer);
    t.step("true");
    world.run(Command::new(VMCLAUDE).arg("list")).out
}

#[test]
fn above_a_tree_a_terminal_is_told_and_a_pipe_is_not() {
    let world = World::new();
    let mut t = Typist::new(&world, &["bash"]);
    let said = t.step("cd \"$W\"; \"$S/shims/claude\" x");
    assert!(said.contains("can reach the enrolled") && said.contains("HOST [x]"), "{said}");
    let done = world.shim(".", &["x"]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("HOST [x]\n", ""));
}

/// Start files as install.sh writes them: then shells as a terminal, a login and tmux start them.
#[test]
fn start_files_route_every_kind_of_shell() {
    let world = World::new();
    let put = |name: &str, text: &str| {
        let path = world.path(name);
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
        std::fs::write(path, text).expect("write");
    };
    let lines = |name: &str| start_lines(shell_of(name), &world.state).expect("text");
    let env = ". \"$S/env.sh\"\n";
    // A PATH that the user's own file puts in front, as many do.
    put("x/.zshrc", &format!("{}PATH=\"$H:$PATH\"\nalias claude=\"$H/claude\"\n", lines("zsh")));
    put("x/.zshenv", env);
    put("x/.zprofile", env);
    put("ho me's/.bash_profile", &format!("{env}. \"$HOME/.bashrc\"\n"));
    put("ho me's/.bashrc", &format!("{}PATH=\"$H:$PATH\"\nalias claude=\"$H/claude\"\n", lines("bash")));
    put("ho me's/.config/fish/conf.d/vmclaude.fish", &lines("fish"));
    let kinds: [&[&str]; 5] = [&["zsh", "-d"], &["zsh", "-d", "-l"], &["bash"], &["bash", "-l"], &["fish"]];
    for kind in kinds {
        let mut command = Command::new(world.path("tools").join(kind[0]));
        command.args(&kind[1..]);
        let mut t = Typist::with(&world, command);
        let said = t.step("cd \"$T\"") + &t.step("claude x") + &t.step("command claude y");
        assert!(said.contains("VM [x]") && said.contains("VM [y]") && !said.contains("HOST"), "{kind:?}: {said}");
    }
}

#[test]
fn a_pane_of_tmux_routes() {
    let world = World::new();
    let Some(tmux) = ["/usr/bin/tmux", "/usr/local/bin/tmux", "/opt/homebrew/bin/tmux"]
        .into_iter()
        .find(|p| std::path::Path::new(p).exists())
    else {
        println!("skipped a_pane_of_tmux_routes: there is no tmux");
        return;
    };
    std::fs::write(world.path("x/.zshrc"), start_lines(shell_of("zsh"), &world.state).expect("text")).expect("write");
    // The server's environment is older than the hook, and its shell is a login shell.
    let script = format!(
        r#"cd "$T"; '{tmux}' -L "vmclaude-$$" -f /dev/null new-session -d "'$W/tools/zsh' -d -l -i -c 'claude x > $O/said 2>&1; command claude y >> $O/said 2>&1; {tmux} wait-for -S done'" \; wait-for done \; kill-server"#
    );
    // The paths here have an apostrophe, which such a line cannot carry: it goes by variables.
    let script = format!("export TMUX_TMPDIR=\"$W\"; {script}")
        .replace("'$W/tools/zsh'", r#"\"$W/tools/zsh\""#)
        .replace("$O/said", r#"\"\$O/said\""#);
    let done = world.run(world.shell(&["bash", "-c"]).arg(script));
    let said = std::fs::read_to_string(world.path("out/said")).unwrap_or_default();
    assert_eq!(said, "VM [x]\nVM [y]\n", "{done:?}");
}

/// Settings of the host's Claude Code whose bytes no program would write again like that.
const SETTINGS: &str = "{\n  \"model\": \"opus\",\t\"theme\" : \"dark\",\n\n  \"permissions\":{\"allow\":[ ]} }  \n\n";

/// Everything that a person could notice of a file.
fn whole(path: &Path) -> (Vec<u8>, u32, u64, i64, i64) {
    let meta = path.metadata().expect("there");
    (std::fs::read(path).expect("read"), meta.mode(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}

/// A world whose user has used Claude Code on the host, and directories `a` `b` `c` `d` in `out`.
fn with_settings() -> (World, PathBuf) {
    let world = World::new();
    for name in ["ho me's/.claude", "out/a", "out/b", "out/c", "out/d"] {
        std::fs::create_dir_all(world.path(name)).expect("mkdir");
    }
    let file = world.path("ho me's/.claude/settings.json");
    std::fs::write(&file, SETTINGS).expect("write");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).expect("chmod");
    (world, file)
}

/// Types `vmclaude enroll` in a directory, and answers the question about the second barrier, if it is asked.
fn enroll_in(t: &mut Typist, dir: &str, answer: Option<&str>) -> String {
    let line = format!("cd \"$O/{dir}\"; {VMCLAUDE} enroll");
    let Some(answer) = answer else { return t.step(&line) };
    t.keys(&format!("{line}\n"));
    let mut said = t.wait("Have it look for itself, by a hook in ");
    said += &t.wait("[Y/n] ");
    t.keys(answer);
    said + &t.step("echo st=$?.")
}

#[test]
fn the_second_barrier_is_offered_once_and_a_no_changes_no_byte() {
    let (world, file) = with_settings();
    let before = whole(&file);
    let mut t = Typist::new(&world, &["bash"]);
    // The end of input is nobody's answer.
    for (dir, answer) in [("a", "n\n"), ("b", "\u{4}"), ("c", "what?\n")] {
        let said = enroll_in(&mut t, dir, Some(answer));
        for part in [".claude/settings.json", "not asked again (vmclaude guard --install)", "st=0."] {
            assert!(said.contains(part), "{answer:?}: no {part:?} in {said}");
        }
        assert_eq!(whole(&file), before, "{answer:?}");
        let again = enroll_in(&mut t, "d", None);
        assert!(again.contains("enrolled") && !again.contains("Have it look"), "{again}");
        std::fs::remove_file(world.state.join("no-guard")).expect("it was written down");
    }
    let listed = world.run(Command::new(VMCLAUDE).arg("list")).out;
    assert!(["/out/a\n", "/out/b\n", "/out/c\n", "/out/d\n"].iter().all(|tree| listed.contains(tree)), "{listed}");
}

#[test]
fn the_second_barrier_that_was_accepted_adds_its_hook_and_leaves_every_other_byte() {
    for answer in ["\n", "y\n", "YES\n"] {
        let (world, file) = with_settings();
        let mut t = Typist::new(&world, &["zsh"]);
        let said = enroll_in(&mut t, "a", Some(answer));
        assert!(said.contains("it does now (vmclaude guard --remove takes it out again)"), "{said}");
        let with = std::fs::read_to_string(&file).expect("read");
        assert_eq!(with.matches("guard --state").count(), 2, "{with}");
        assert_eq!(file.metadata().expect("there").mode() & 0o7777, 0o640);
        // What was there is there still, in its order, and what was added is in one piece before the last brace.
        let (head, tail) = SETTINGS.split_once(" }  \n").expect("an end");
        assert!(with.starts_with(head) && with.ends_with(&format!("}}  \n{tail}")), "{with}");
        let again = enroll_in(&mut t, "b", None);
        assert!(!again.contains("Have it look"), "{again}");
        let removed = world.run(Command::new(VMCLAUDE).args(["guard", "--remove"]));
        assert_eq!(
            (removed.code, std::fs::read_to_string(&file).expect("read").as_str()),
            (0, SETTINGS),
            "{removed:?}"
        );
        assert!(!enroll_in(&mut t, "c", None).contains("Have it look"), "a removal is an answer");
    }
}

#[test]
fn settings_that_cannot_take_the_second_barrier_stay_and_the_directory_is_enrolled() {
    let (world, file) = with_settings();
    std::fs::write(&file, "{ not JSON").expect("write");
    let before = whole(&file);
    let mut t = Typist::new(&world, &["bash"]);
    let said = enroll_in(&mut t, "a", Some("y\n"));
    assert!(said.contains("cannot change") && said.contains("by hand") && said.contains("st=0."), "{said}");
    assert_eq!(whole(&file), before);
    assert!(world.run(Command::new(VMCLAUDE).arg("list")).out.contains("/out/a\n"));
}

#[test]
fn the_first_enrollment_offers_a_copy_of_the_hosts_settings_and_the_next_does_not() {
    for answer in ["n\n", "\n"] {
        let (world, file) = with_settings();
        let before = whole(&file);
        let shared = world.path("ho me's/.vm-claude/shared/settings.json");
        let gone = world.run(Command::new(VMCLAUDE).args(["unenroll", "--yes"]).arg(world.path("tr ee")));
        assert_eq!(gone.code, 0, "{}", gone.err);
        let mut t = Typist::new(&world, &["bash"]);
        t.keys(&format!("cd \"$O/a\"; {VMCLAUDE} enroll\n"));
        let asked = t.wait("without hooks and secrets? [Y/n] ");
        assert!(asked.contains("Copy settings.json from"), "{asked}");
        assert!(!shared.exists(), "nobody has answered yet");
        t.keys(answer);
        t.wait("Have it look for itself");
        t.wait("[Y/n] ");
        assert_eq!(shared.exists(), answer == "\n");
        t.keys("n\n");
        assert!(t.step("echo st=$?.").contains("st=0."));
        assert_eq!(whole(&file), before, "the host's own are read only");
        assert!(!enroll_in(&mut t, "b", None).contains("Copy "), "the first only");
    }
}
