//! What else could be called claude, at the prompt: aliases and functions.

use crate::interactive::{ALL, has, lacks, loaded};
use crate::pty::Typist;
use crate::world::World;

/// Aliases that lead around the VM.
const AROUND: [&str; 15] = [
    r#"alias claude='"$H"/claude'"#,
    r#"alias claude '"$H"/claude'"#,
    r#"alias claude='env A=1 "$H"/claude --flag'"#,
    r#"alias -g claude='"$H"/claude'"#,
    // The right word, and the host's claude all the same.
    r#"alias claude='PATH="$H:$PATH" command claude'"#,
    r#"alias claude='env PATH="$H:$PATH" claude'"#,
    r#"alias claude='env "PATH=$H:$PATH" claude'"#,
    r#"alias claude='claude --version; "$H"/claude'"#,
    r#"alias claude='claude --version | "$H"/claude'"#,
    r#"alias claude='claude --version && "$H"/claude'"#,
    // Quotes around both sides are none around what lies between, and what is in them can be a command itself.
    r#"alias claude='claude "a" ; "$H"/claude "b"'"#,
    r#"alias claude='claude \" ; "$H"/claude \"'"#,
    r#"alias claude='claude "$("$H"/claude)"'"#,
    r#"alias claude='claude "a; "$H"/claude'"#,
    r#"alias claude='A="x claude y" "$H"/claude'"#,
];

#[test]
fn aliases_around_the_vm_are_removed() {
    let world = World::new();
    for shell in ALL {
        for alias in AROUND {
            if alias.contains("-g") && shell != "zsh" || alias.starts_with("alias claude ") && shell != "fish" {
                continue;
            }
            if alias.contains(r#""a; "$H""#) && shell == "fish" {
                continue; // it takes no alias whose quotes do not end
            }
            // Typed at the prompt, and there before the hook.
            let (mut t, _) = loaded(&world, shell);
            t.step("cd \"$T\"");
            has(&t.step(alias), "removed alias claude=", &format!("{shell}: {alias}"));
            has(&t.step("claude x"), "VM [x]", shell);
            let mut t = Typist::new(&world, &[shell]);
            t.step("cd \"$T\"");
            t.step(alias);
            let said = t.step(&format!(". \"{}\"", world.hook(shell)));
            // In fish an alias is a function, which the hook has replaced.
            assert!(shell == "fish" || said.contains("removed alias claude="), "{shell}: {said}");
            has(&t.step("claude y"), "VM [y]", shell);
        }
    }
}

#[test]
fn aliases_with_flags_stay_whatever_quotes_make_of_them() {
    let world = World::new();
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        t.step("cd \"$T\"");
        lacks(&t.step("alias claude='claude --model opus'"), "vmclaude: ", shell);
        has(&t.step("claude x"), "VM [--model] [opus] [x]", shell);
        lacks(&t.step("alias claude='FOO=1 command claude -c'"), "vmclaude: ", shell);
        has(&t.step("claude x"), "VM [-c] [x]", shell);
        for (alias, said) in [
            (r#"'claude --say "Be brief; no emojis"'"#, "VM [--say] [Be brief; no emojis] [x]"),
            (r#"'claude --say "R&D" --allow "Bash(git log:*)"'"#, "VM [--say] [R&D] [--allow] [Bash(git log:*)] [x]"),
            (r#""claude --say 'one | \"two\"'""#, r#"VM [--say] [one | "two"] [x]"#),
            (r#"'A="b; c" command claude --say "it'"'"'s"'"#, "VM [--say] [it's] [x]"),
        ] {
            lacks(&t.step(&format!("alias claude={alias}")), "vmclaude: ", &format!("{shell}: {alias}"));
            has(&t.step("claude x"), said, &format!("{shell}: {alias}"));
        }
    }
}

#[test]
fn another_function_is_named_and_not_fought() {
    let world = World::new();
    for shell in ALL {
        let (mut t, _) = loaded(&world, shell);
        let other = if shell == "fish" { "function claude; echo mine; end" } else { "claude() { echo mine; }" };
        t.step("cd \"$T\"");
        // Where it matters it is said at once, and once.
        has(&t.step(other), "replaced the one of vmclaude", shell);
        lacks(&t.step("cd sub"), "replaced the one of vmclaude", shell);
        has(&t.step("claude"), "mine", shell);
        t.step("cd \"$O\"");
        let entered = t.step("cd \"$T\"");
        lacks(&entered, "runs in a VM here", shell);
        has(&entered, "is enrolled, but claude is a function of your own", shell);
        t.step(&format!(". \"{}\"; cd \"$O\"", world.hook(shell)));
        has(&t.step("cd \"$T\""), "runs in a VM here", shell);
        has(&t.step("claude x"), "VM [x]", shell);
    }
}
