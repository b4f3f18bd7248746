//! The shells' start files: where the lines go, and that they help.

use crate::world::{World, done, lived_in};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

#[test]
fn lines_written_behind_ours_stay() {
    let world = lived_in();
    world.install();
    let text = world.read(".bashrc");
    world.write(".bashrc", format!("{text}export EDITOR=vi\n").as_bytes());
    world.install();
    assert_eq!(world.run(&["--uninstall"]).code, 0);
    assert_eq!(world.read(".bashrc"), "alias ll='ls -l'\nexport EDITOR=vi\n");
}

#[test]
fn a_file_that_is_read_only_is_left_alone_and_the_lines_are_printed() {
    let world = lived_in();
    for name in [".bashrc", "dotfiles/zshrc"] {
        std::fs::set_permissions(world.home(name), PermissionsExt::from_mode(0o444)).expect("chmod");
    }
    symlink("/nonexistent/place/zprofile", world.home(".zprofile")).expect("ln");
    let done = world.install();
    for name in [".bashrc", ".zshrc", ".zprofile"] {
        assert!(done.out.contains(&format!("{name} cannot be written; add these lines")), "{name}: {}", done.out);
    }
    assert!(done.out.contains("hook.zsh") && done.out.contains("hook.bash"));
    assert_eq!(world.read(".bashrc"), "alias ll='ls -l'");
    assert_eq!(world.read("dotfiles/zshrc"), "setopt autocd\n");
}

#[test]
fn every_shell_finds_both_programs_afterwards() {
    let world = lived_in();
    world.install();
    let shim = world.home(".local/state/vmclaude/shims/claude");
    let ask = |words: &[&str]| done(world.clean(Command::new(words[0]).args(&words[1..])));
    for shell in ["bash", "zsh"] {
        let kind = if shell == "zsh" { "whence -w claude" } else { "type -t claude" };
        let said = ask(&[shell, "-ic", &format!("{kind}; command -v vmclaude vmclaude-container; exit")]);
        assert!(
            said.out.contains("function") && said.out.contains(".local/bin/vmclaude-container"),
            "{shell}: {}",
            said.out
        );
    }
    let fish = ask(&["fish", "-c", "type -t claude; command -v vmclaude"]);
    assert!(fish.out.starts_with("function") && fish.out.contains(".local/bin/vmclaude"), "{}{}", fish.out, fish.err);
    for login in [&["sh", "-lc"][..], &["zsh", "-c"], &["zsh", "-lc"], &["bash", "-lc"]] {
        let said = ask(&[login, &["command -v claude"]].concat());
        assert!(said.out.contains(&*shim.to_string_lossy()) || said.out == "claude\n", "{login:?}: {}", said.out);
    }
    let zsh = ask(&["zsh", "-c", "autoload -Uz compinit && compinit -D -u && print -r -- $_comps[vmclaude]"]);
    assert_eq!(zsh.out, "_vmclaude\n", "{}", zsh.err);
}

/// Claude's own installer writes such an alias, and fish reads that file behind those of conf.d.
#[test]
fn an_alias_in_fishs_own_start_file_is_not_the_last_word() {
    let world = lived_in();
    world.write(".config/fish/config.fish", b"alias claude=\"~/.claude/local/claude\"");
    let before = world.snapshot();
    world.install();
    let ask = |words: &[&str]| done(world.clean(Command::new("fish").args(words)));
    let ours = "functions claude | string match -q '*refusing to run claude*'; and echo ours";
    for words in [&["-c", ours][..], &["-ic", ours], &["-lc", ours]] {
        let said = ask(words);
        assert_eq!(said.out, "ours\n", "{words:?}: {}", said.err);
    }
    assert_eq!(world.run(&["--uninstall", "--purge", "--yes"]).code, 0);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
}

/// Our lines at the end of that file leave what the prompt would leave, and say no word where there is no prompt.
#[test]
fn what_may_stay_in_fishs_own_start_file_stays() {
    let world = World::new();
    world.write("fake/claude", b"#!/bin/sh\necho HOST \"$@\"\n");
    std::fs::set_permissions(world.home("fake/claude"), PermissionsExt::from_mode(0o755)).expect("chmod");
    for (own, says, told) in [
        ("alias claude='claude --model opus'\n", "HOST --model opus x\n", ""),
        ("function claude; command claude --mine $argv; end\n", "HOST --mine x\n", "replaced the one of vmclaude"),
        ("alias claude='\"$HOME/fake/claude\" --around'\n", "HOST x\n", "removed alias claude="),
        ("", "HOST x\n", ""),
    ] {
        world.write(".config/fish/config.fish", own.as_bytes());
        world.install();
        assert_eq!(world.read(".config/fish/config.fish").matches("# >>> vmclaude >>>").count(), 1, "{own}");
        let ask = |words: &[&str]| {
            let mut fish = Command::new("fish");
            let path = format!("{}:/usr/bin:/bin", world.home("fake").display());
            done(world.clean(fish.args(words)).env("PATH", path))
        };
        for words in [&["-c", "claude x"][..], &["-lc", "claude x"]] {
            let said = ask(words);
            assert_eq!((said.out.as_str(), said.err.as_str()), (says, ""), "{words:?} {own}");
        }
        let person = ask(&["-ic", "claude x"]);
        assert!(person.out.ends_with(says), "{own}: {}", person.out);
        assert_eq!(person.err.contains("vmclaude: "), !told.is_empty(), "{own}: {}", person.err);
        assert!(person.err.contains(told), "{own}: {}", person.err);
        // What conf.d was to load is not there: neither is claude, whatever the file says.
        std::fs::remove_file(world.home(".local/state/vmclaude/hook.fish")).expect("rm");
        let refused = ask(&["-c", "claude x"]);
        assert!(refused.out.is_empty() && refused.err.contains("refusing to run claude"), "{own}: {}", refused.err);
    }
}

/// `~/.zshenv` may say where the other start files are, with or without telling whoever zsh starts.
#[test]
fn zsh_finds_its_lines_wherever_its_start_files_are() {
    for (export, inherited) in [("export ", true), ("export ", false), ("", false)] {
        let world = World::new();
        world.write(".zshenv", format!("{export}ZDOTDIR=~/.config/zsh\n").as_bytes());
        world.write(".config/zsh/.zshrc", b"setopt autocd\n");
        let before = world.snapshot();
        let install = |zdotdir: Option<&str>, words: &[&str]| {
            let mut command = Command::new("/bin/sh");
            world.clean(command.arg(world.root.join("release/install.sh")).arg("--no-image").args(words));
            zdotdir.map(|dir| command.env("ZDOTDIR", world.home(dir)));
            let said = done(&mut command);
            assert_eq!(said.code, 0, "{}", said.err);
        };
        let zdotdir = inherited.then_some(".config/zsh");
        install(zdotdir, &[]);
        let shim = world.home(".local/state/vmclaude/shims/claude");
        let ask = |words: &[&str]| {
            let mut zsh = Command::new("zsh");
            world.clean(zsh.args(words)).env("PATH", "/usr/bin:/bin");
            done(&mut zsh)
        };
        let plain = ask(&["-c", "whence -p claude"]);
        assert_eq!(plain.out, format!("{}\n", shim.display()), "{export} {inherited}: {}", plain.err);
        for words in [&["-ic", "whence -w claude"][..], &["-ilc", "whence -w claude"]] {
            let said = ask(words);
            assert_eq!(said.out, "claude: function\n", "{export} {inherited} {words:?}: {}", said.err);
        }
        let status = |shell: &str| {
            let mut command = Command::new(world.home(".local/bin/vmclaude"));
            world.clean(command.args(["status", "--json"])).env("SHELL", shell);
            done(&mut command).out
        };
        assert!(!status("/usr/bin/zsh").contains("does not load the hook"), "{}", status("/usr/bin/zsh"));
        // Where the files were then counts, not where they would be now.
        install(Some("elsewhere"), &["--uninstall", "--purge", "--yes"]);
        assert!(before == world.snapshot(), "{export} {inherited}: {:#?}", world.snapshot().keys());
    }
}
