//! The texts: quoting, start files, PATH.

use crate::world::{VMCLAUDE, World, find, shell_of};
use std::process::Command;
use vmclaude::hook::{Shell, quote, start_lines};

#[test]
fn each_shell_reads_back_what_its_quote_wrote() {
    let world = World::new();
    for text in [
        "",
        "plain",
        "a b",
        "it's",
        "'",
        "''",
        r"\",
        r"a\'b\\",
        "$HOME `ls` \"x\" *?[a] {b,c} ~ # ; & | <>",
        "ü\ttab",
        "!x",
    ] {
        for shell in Shell::ALL {
            let script = format!("printf '%s' {}", quote(shell, text));
            let done = world.run(world.shell(&[shell.name(), "-c"]).arg(script));
            assert_eq!(done.out, text, "{shell:?}: {}", done.err);
        }
    }
}

#[test]
fn a_hook_that_is_missing_or_cut_off_refuses() {
    for name in ["zsh", "bash", "fish"] {
        let world = World::new();
        let hook = world.hook(name);
        let whole = std::fs::read(&hook).expect("the hook");
        let lines = start_lines(shell_of(name), &world.state).expect("text");
        // Without the shim on PATH: the function alone has to hold.
        let script = format!("{lines}\ncd \"$T\"\nclaude x\n");
        for percent in [None, Some(0), Some(10), Some(25), Some(50), Some(75), Some(90), Some(99), Some(100)] {
            match percent {
                None => std::fs::remove_file(&hook).expect("rm"),
                Some(percent) => std::fs::write(&hook, &whole[..whole.len() * percent / 100]).expect("write"),
            }
            let done = world.run(world.shell(&[name, "-c"]).arg(&script));
            if percent == Some(100) {
                assert_eq!(done.out, "VM [x]\n", "{name}: {}", done.err);
            } else {
                assert!(!done.out.contains("HOST"), "{name} at {percent:?}: {done:?}");
            }
        }
    }
}

#[test]
fn the_shims_directory_moves_to_the_front_once_and_the_rest_stays() {
    let world = World::new();
    let shims = world.state.join("shims").to_str().expect("text").to_owned();
    let tools = world.path("tools").to_str().expect("text").to_owned();
    for before in [
        format!("/a:{tools}:/b"),
        format!("/a:{tools}:/b:{shims}"),
        format!("{shims}:/a:{shims}:{shims}:{tools}:/b:{shims}"),
        format!("{shims}:/a:{tools}:/b"),
    ] {
        for (name, file) in [
            ("zsh", "hook.zsh"),
            ("bash", "hook.bash"),
            ("fish", "hook.fish"),
            ("sh", "env.sh"),
            ("bash", "env.sh"),
            ("zsh", "env.sh"),
        ] {
            let script = format!(r#". "$S/{file}"; . "$S/{file}"; env | sed -n s/^PATH=//p"#);
            let mut shell = world.shell(&[name, "-c"]);
            let done = world.clean(shell.arg(script)).env("PATH", &before).output().expect("runs");
            let after = String::from_utf8_lossy(&done.stdout).into_owned();
            assert_eq!(after, format!("{shims}:/a:{tools}:/b\n"), "{name} {file} {before}: {done:?}");
        }
    }
}

#[test]
fn a_login_shell_that_reorders_path_still_finds_the_shim() {
    let world = World::new();
    let env = r#". "$S/env.sh""#;
    std::fs::write(world.path("x/.zshenv"), env).expect("write");
    // What macOS's path_helper does in /etc/zprofile, and then ours.
    std::fs::write(world.path("x/.zprofile"), format!("PATH=\"$H:$W/tools:$PATH\"\n{env}\n")).expect("write");
    let mut zsh = Command::new(world.path("tools/zsh"));
    let done = world.run(zsh.args(["-d", "-lc", r#"cd "$T"; command claude x"#]));
    assert_eq!(done.out, "VM [x]\n", "{}", done.err);
}

#[test]
fn an_alias_before_the_hook_breaks_nothing() {
    let world = World::new();
    let rows = [
        ("zsh", "alias claude=\"$H/claude\""),
        ("zsh", "alias claude=\"env A=1 $H/claude --flag\""),
        ("zsh", "alias -g claude=\"$H/claude\""),
        ("bash", "shopt -s expand_aliases\nalias claude=\"$H/claude\""),
        ("bash", "shopt -s expand_aliases\nalias claude=\"env A=1 $H/claude --flag\""),
    ];
    for (name, alias) in rows {
        let script = format!("{alias}\n. \"$S/hook.{name}\"\nunalias claude\ncd \"$T\"\nclaude x\n");
        let done = world.run(world.shell(&[name, "-c"]).arg(&script));
        assert_eq!((done.out.as_str(), done.err.as_str()), ("VM [x]\n", ""), "{name} {alias}");
        let script = format!("{alias}\neval \"$('{VMCLAUDE}' hook {name})\"\nunalias claude\ncd \"$T\"\nclaude x\n");
        let done = world.run(world.shell(&[name, "-c"]).arg(&script));
        assert_eq!((done.out.as_str(), done.err.as_str()), ("VM [x]\n", ""), "eval in {name} {alias}");
    }
}

#[test]
fn the_command_prints_what_enroll_installs() {
    let world = World::new();
    for name in ["zsh", "bash", "fish"] {
        let done = world.run(Command::new(VMCLAUDE).args(["hook", name]));
        assert_eq!(done.out, std::fs::read_to_string(world.hook(name)).expect("the hook"));
    }
}

const OLD_BASH: &str = "(( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 503 ))";

/// Every process that a shell makes, counted by the kernel's calls: none while a hook is loaded, one at the first prompt and one
/// after each `cd`, none at any other.
#[test]
fn processes_are_made_after_a_change_of_directory_only() {
    let Some(strace) = find("strace") else {
        println!("skipped processes_are_made_after_a_change_of_directory_only: there is no strace");
        return;
    };
    let world = World::new();
    let traced = world.path("traced");
    let forks = |name: &str, script: &str| {
        let mut command = Command::new(&strace);
        command.args(["-qq", "-f", "-e", "trace=fork,vfork,clone,clone3", "-e", "signal=none", "-o"]).arg(&traced);
        let shell = world.shell(&[name, "-c"]);
        let done = world.run(command.arg(shell.get_program()).args(shell.get_args()).arg(script));
        assert_eq!((done.code, done.err.as_str()), (0, ""), "{name}: {script}");
        // Threads, which fish has, are no processes; a call that another interrupted is told twice.
        let calls = std::fs::read_to_string(&traced).expect("a trace");
        calls.lines().filter(|l| !l.contains("CLONE_THREAD") && !l.contains("resumed>") && !l.contains("+++")).count()
    };
    for name in ["zsh", "bash", "fish"] {
        let hook = format!(". \"$S/hook.{name}\"");
        assert_eq!(forks(name, "\"$W/tools/true\"; \"$W/tools/true\"; true"), 2, "{name}: they are counted");
        assert_eq!(forks(name, &hook), 0, "{name}: loading");
        let guard = "__vmclaude_guard 2>/dev/null";
        assert_eq!(forks(name, &format!("{hook}\n{guard}")), 1, "{name}: the first prompt");
        assert_eq!(forks(name, &format!("{hook}\n{guard}\n{guard}\n{guard}")), 1, "{name}: the same directory");
        let after_cd = format!("{hook}\n{guard}\ncd \"$T\"\n{guard}\n{guard}\ncd \"$O\"\n{guard}\n{guard}");
        // In a tree a bash before 5.3 needs a copy of itself to tell what a function is.
        let old = name == "bash" && world.run(world.shell(&["bash", "-c"]).arg(OLD_BASH)).code == 0;
        assert_eq!(forks(name, &after_cd), if old { 4 } else { 3 }, "{name}: after each cd");
    }
}
