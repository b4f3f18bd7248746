//! What is asked and said on a terminal only, and shells as terminals and tmux start them.

use crate::pty::Typist;
use crate::world::{VMCLAUDE, World, shell_of};
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
    let world = World::new();
    std::fs::create_dir_all(world.path("out/.git")).expect("mkdir");
    std::fs::create_dir_all(world.path("out/sub")).expect("mkdir");
    let mut t = Typist::new(&world, &["zsh"]);
    t.keys(&format!("cd \"$O/sub\"; {VMCLAUDE} enroll\n"));
    t.wait("instead? [Y/n] ");
    t.keys("\n");
    t.step("true");
    let listed = world.run(Command::new(VMCLAUDE).arg("list"));
    assert!(listed.out.contains("/out\n"), "{}", listed.out);
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
