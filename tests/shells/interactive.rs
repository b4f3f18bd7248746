//! Shells on a terminal: what the prompt guard notices, what it leaves alone, jobs and keys.

use crate::pty::Typist;
use crate::world::{VMCLAUDE, World};

pub(crate) const ALL: [&str; 3] = ["zsh", "bash", "fish"];

pub(crate) fn loaded<'w>(world: &'w World, name: &str) -> (Typist, &'w World) {
    let mut typist = Typist::new(world, &[name]);
    typist.step(&format!(". \"{}\"", world.hook(name)));
    (typist, world)
}

pub(crate) fn has(text: &str, part: &str, shell: &str) {
    assert!(text.contains(part), "{shell}: no {part:?} in {text:?}");
}

pub(crate) fn lacks(text: &str, part: &str, shell: &str) {
    assert!(!text.contains(part), "{shell}: {part:?} in {text:?}");
}

#[test]
fn entering_and_leaving_a_tree_is_said_once() {
    let world = World::new();
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        let entered = t.step("cd \"$T\"");
        has(&entered, "claude runs in a VM here (", shell);
        lacks(&t.step("true"), "claude runs", shell);
        lacks(&t.step("cd sub"), "claude runs", shell);
        has(&t.step("echo \"tree=$VMCLAUDE_TREE.\""), "/tr ee.", shell);
        has(&t.step("cd \"$O\""), "claude runs on the host here", shell);
        lacks(&t.step("cd /"), "claude runs", shell);
        let quiet = if shell == "fish" { "set x (cd \"$T\"; and pwd)" } else { "x=$(cd \"$T\" && pwd)" };
        t.step(&format!("{quiet}; cd \"$O\""));
        has(&t.step("echo \"x=$x.\""), "/tr ee.", shell);
    }
}

#[test]
fn where_claude_refuses_the_prompt_does_not_say_that_it_runs_on_the_host() {
    let refuses = "claude refuses to run here: vmclaude status";
    for shell in ALL {
        let world = World::new();
        let (mut t, _) = loaded(&world, shell);
        t.step("mkdir \"$T/gone\"; cd \"$T/gone\"");
        let said = t.step(
            "rmdir \"$T/gone\"; echo >> \"$S/stamp\"; mkdir \"$T/to\"; mv \"$T\" \"$W/was\"; mkdir \"$T\"; cd \"$T\"",
        );
        has(&said, refuses, shell);
        lacks(&said, "on the host", shell);
        lacks(&t.step("true"), refuses, shell);
        has(&t.step("cd \"$W/was\""), "claude runs in a VM here (", shell);
        has(&t.step("cd \"$O\""), "claude runs on the host here", shell);
    }
}

#[test]
fn enrolling_where_one_stands_is_seen_at_the_next_prompt() {
    for shell in ALL {
        let world = World::new();
        let (mut t, _) = loaded(&world, shell);
        t.step("mkdir \"$O/new\"; cd \"$O/new\"");
        has(&t.step(&format!("{VMCLAUDE} enroll")), "claude runs in a VM here (", shell);
        has(&t.step("echo \"tree=$VMCLAUDE_TREE.\""), "/out/new.", shell);
        lacks(&t.step("true"), "claude runs", shell);
        has(&t.step(&format!("{VMCLAUDE} unenroll --yes")), "claude runs on the host here", shell);
        has(&t.step("echo \"tree=$VMCLAUDE_TREE.\""), "tree=.", shell);
    }
}

#[test]
fn what_waits_for_a_review_is_said_at_every_cd_without_a_process() {
    let world = World::new();
    let pending = world.state.join("review.pending");
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        let reminder = "wait for you: vmclaude review";
        std::fs::write(&pending, format!("/elsewhere\n{}\n", world.path("tr ee").display())).expect("write");
        has(&t.step("cd \"$T\""), reminder, shell);
        lacks(&t.step("true"), reminder, shell);
        has(&t.step("cd sub"), reminder, shell);
        std::fs::write(&pending, "/elsewhere\n").expect("write");
        lacks(&t.step("cd .."), reminder, shell);
        std::fs::remove_file(&pending).expect("rm");
        lacks(&t.step("cd sub"), reminder, shell);
        t.step("cd \"$O\"");
    }
}

#[test]
fn the_status_is_untouched() {
    let world = World::new();
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        let status = if shell == "fish" { "$status" } else { "$?" };
        for before in ["false", "cd \"$T\"; false", "sh -c 'exit 1'"] {
            t.keys(&format!("{before}\n"));
            has(&t.step(&format!("echo st={status}.")), "st=1.", shell);
        }
    }
}

#[test]
fn no_process_while_the_directory_is_the_same() {
    let world = World::new();
    world.program("count", "#!/bin/sh\necho x >> \"$W/counted\"\n");
    std::fs::rename(world.path("count"), world.state.join("where")).expect("mv");
    for shell in ALL {
        let _ = std::fs::remove_file(world.path("counted"));
        let (mut t, _) = loaded(&world, shell);
        for line in ["true", "true", "false", "cd \"$T\"", "true", "true"] {
            t.step(line);
        }
        let counted = std::fs::read_to_string(world.path("counted")).expect("counted");
        assert_eq!(counted.lines().count(), 2, "{shell}: once at the start and once after cd");
    }
}

#[test]
fn a_directory_in_front_of_the_shim_is_put_behind_it() {
    let world = World::new();
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        t.step("cd \"$T\"");
        let front = if shell == "fish" { "set -x PATH \"$H\" $PATH" } else { "PATH=\"$H:$PATH\"" };
        t.step(front);
        has(&t.step("command claude x"), "VM [x]", shell);
        // One without a claude stays where the user put it.
        let harmless = if shell == "fish" { "set -x PATH \"$W/x\" $PATH" } else { "PATH=\"$W/x:$PATH\"" };
        t.step(harmless);
        let path = t.step("env | sed -n s/^PATH=/path=/p");
        has(&path, &format!("path={}:", world.path("x").display()), shell);
        has(&t.step("command claude y"), "VM [y]", shell);
    }
}

#[test]
fn jobs_and_keys_behave_as_without_the_function() {
    let world = World::new();
    for shell in ALL {
        for (dir, who) in [("T", "VM waits"), ("O", "HOST waits")] {
            let (mut t, _) = loaded(&world, shell);
            t.step(&format!("cd \"${dir}\""));
            t.keys("claude wait\n");
            t.wait(who);
            t.keys("\x1a");
            t.wait_for_job(false);
            // zsh shows a suspended function without its words, bash with the words of its body.
            has(&t.step("jobs").to_lowercase(), if shell == "zsh" { "suspended" } else { "stopped" }, shell);
            t.keys("fg\n");
            t.wait_for_job(true);
            t.keys("\x03");
            t.wait_for_job(false);
            // fish's fg has a status of its own.
            if shell != "fish" {
                has(&t.step("echo st=$?."), "st=130.", shell);
            }
            t.keys("claude wait\n");
            t.wait(who);
            t.keys("\x03");
            t.wait_for_job(false);
            has(&t.step(if shell == "fish" { "echo st=$status." } else { "echo st=$?." }), "st=130.", shell);
        }
    }
}

#[test]
fn prompt_command_keeps_its_kind_and_its_contents() {
    let world = World::new();
    let hook = world.hook("bash");
    for before in [
        "unset PROMPT_COMMAND",
        "PROMPT_COMMAND='mine=1;'",
        "PROMPT_COMMAND=$'mine=1 ; \\n'",
        "export PROMPT_COMMAND='mine=1'",
        "PROMPT_COMMAND=('mine=1' 'mine=2')",
        "PROMPT_COMMAND=()",
    ] {
        let mut t = Typist::new(&world, &["bash"]);
        let out = t.step(before) + &t.step(&format!(". \"{hook}\"; . \"{hook}\"")) + &t.step("cd \"$T\"");
        has(&out, "claude runs in a VM here", before);
        lacks(&out, "syntax error", before);
        let value = t.step("declare -p PROMPT_COMMAND");
        assert_eq!(value.matches("__vmclaude_guard").count(), 1, "{before}: {value}");
        assert_eq!(value.contains("=("), before.contains('('), "{before}: {value}");
        has(&value, if before.contains("mine=1") { "mine=1" } else { "__vmclaude" }, before);
    }
}

#[test]
fn zsh_has_the_guard_once_and_one_that_emulates_sh_has_it_too() {
    let world = World::new();
    let hook = world.hook("zsh");
    for before in
        ["true", "emulate sh", "setopt errexit nounset ksh_arrays; unsetopt errexit", "precmd_functions=(true)"]
    {
        let mut t = Typist::new(&world, &["zsh"]);
        let out = t.step(before) + &t.step(&format!(". \"{hook}\"; . \"{hook}\"; . \"{hook}\"")) + &t.step("cd \"$T\"");
        assert_eq!(out.matches("claude runs in a VM here").count(), 1, "{before}: {out}");
        let value = t.step("typeset -p precmd_functions");
        assert_eq!(value.matches("__vmclaude_guard").count(), 1, "{before}: {value}");
        has(&t.step("claude x"), "VM [x]", before);
        has(&t.step("command claude y"), "VM [y]", before);
        let moved = t.step("PATH=\"$H:$PATH\"") + &t.step("command claude z");
        has(&moved, "VM [z]", before);
    }
}

/// What docs/shells.md says of an exported one: noise inside, and the VM all the same.
#[test]
fn a_bash_inside_a_bash_with_an_exported_prompt_command_runs_the_vm() {
    let world = World::new();
    let mut t = Typist::new(&world, &["bash"]);
    t.step(&format!("export PROMPT_COMMAND=true; . \"{}\"; cd \"$T\"", world.hook("bash")));
    t.step("bash --norc --noprofile -i");
    let said = t.step("claude x");
    has(&said, "__vmclaude_guard: command not found", "bash");
    has(&said, "VM [x]", "bash");
}

#[test]
fn traps_and_pipestatus_are_the_users_own() {
    let world = World::new();
    let (mut t, _) = loaded(&world, "bash");
    t.step("trap 'echo trapped' INT");
    t.step("cd \"$T\"");
    has(&t.step("trap -p INT"), "echo trapped", "bash");
    let mut t = Typist::new(&world, &["bash"]);
    t.step("PROMPT_COMMAND='saved=\"${PIPESTATUS[*]}\"'");
    t.step(&format!(". \"{}\"", world.hook("bash")));
    t.keys("true | false | true\n");
    has(&t.step("echo \"ps=$saved.\""), "ps=0 1 0.", "bash");
}

#[test]
fn when_the_state_directory_is_gone_the_prompt_is_quiet_and_claude_refuses() {
    let world = World::new();
    let shells = ALL.map(|shell| (shell, loaded(&world, shell).0));
    std::fs::remove_dir_all(&world.state).expect("rm");
    for (shell, mut t) in shells {
        let said = t.step("cd \"$T\"");
        for noise in ["rror", "nown", "o such", "not found", "cannot"] {
            lacks(&said, noise, shell);
        }
        has(&t.step("claude x"), "refusing to run claude", shell);
    }
}
