//! Shells that run a script: one row per situation.

use crate::world::{World, base, find, why_missing};

const ALL: &[&[&str]] = &[&["zsh"], &["bash"], &["fish"]];
const POSIX: &[&[&str]] = &[&["zsh"], &["bash"]];
const STRICT: &[&[&str]] = &[
    &["bash", "-eu", "-o", "pipefail"],
    &["bash", "--posix"],
    &["zsh", "-o", "errexit", "-o", "nounset", "-o", "ksh_arrays", "-o", "warn_create_global"],
    &["zsh", "--emulate", "sh"],
    &["zsh", "-o", "sh_word_split", "-o", "rc_quotes", "-o", "extended_glob"],
];

struct Row {
    name: &'static str,
    shells: &'static [&'static [&'static str]],
    script: &'static str,
    out: &'static str,
    code: i32,
}

const fn row(
    name: &'static str,
    shells: &'static [&'static [&'static str]],
    script: &'static str,
    out: &'static str,
    code: i32,
) -> Row {
    Row { name, shells, script, out, code }
}

const ROWS: &[Row] = &[
    row("words pass byte for byte", ALL, r#"cd "$T"; claude a 'b c' '' '*' '--'"#, "VM [a] [b c] [] [*] [--]\n", 0),
    row("no words are no words", ALL, r#"cd "$T/sub"; claude"#, "VM\n", 0),
    row("outside it is the host's", ALL, r#"claude a 'b c' ''"#, "HOST [a] [b c] []\n", 0),
    row("a sibling with a longer name", ALL, r#"cd "$W/tr ee-evil"; claude"#, "HOST\n", 0),
    row("through a link into the tree", ALL, r#"cd "$W/link-in"; claude x"#, "VM [x]\n", 0),
    row("through a link out of the tree", ALL, r#"cd "$T/link-out"; claude x"#, "", 78),
    row("the VM's exit code", ALL, r#"cd "$T"; claude exit 37"#, "", 37),
    row("the host's exit code", ALL, "claude exit 37", "", 37),
    row("command", ALL, r#"cd "$T"; command claude x"#, "VM [x]\n", 0),
    row("env", ALL, r#"cd "$T"; env claude x"#, "VM [x]\n", 0),
    row("exec", ALL, r#"cd "$T"; exec claude x"#, "VM [x]\n", 0),
    row("exec under another name", POSIX, r#"cd "$T"; exec -a foo claude x"#, "VM [x]\n", 0),
    row("sh -c", ALL, r#"cd "$T"; sh -c 'claude x'"#, "VM [x]\n", 0),
    row("xargs", ALL, r#"cd "$T"; echo x | xargs claude"#, "VM [x]\n", 0),
    row("a program's execvp", ALL, r#"cd "$T"; env -u X env claude x"#, "VM [x]\n", 0),
    row("a pipe", ALL, r#"cd "$T"; echo y | claude cat | cat"#, "y\n", 0),
    row("a pipe from the host's", ALL, "echo y | claude cat | cat", "y\n", 0),
    row("a substitution", POSIX, r#"cd "$T"; (claude 1); echo "$(claude 2)""#, "VM [1]\nVM [2]\n", 0),
    row("the directory is deleted", ALL, r#"mkdir "$T/gone"; cd "$T/gone"; rmdir "$T/gone"; claude"#, "", 78),
    row("HOME is elsewhere", ALL, r#"cd "$T"; HOME=/nowhere XDG_STATE_HOME=/nowhere claude x"#, "VM [x]\n", 0),
    row("HOME is elsewhere, command", ALL, r#"cd "$T"; env HOME=/nowhere XDG_DATA_HOME=/x claude x"#, "VM [x]\n", 0),
    row("the tree was moved", ALL, r#"mv "$T" "$W/moved"; cd "$W/moved/sub"; claude x"#, "VM [x]\n", 0),
    row("the tree was replaced", ALL, r#"mv "$T" "$W/moved"; mkdir "$T"; cd "$T"; claude x"#, "", 78),
    row("the registry is cut off", ALL, r#"sed -n 1p "$S/registry" > "$S/r"; mv "$S/r" "$S/registry"; claude"#, "", 78),
    row("the registry is lost", ALL, r#"rm "$S/registry"; claude"#, "", 78),
    row("vmclaude is gone: the tree", ALL, r#"rm "$W/lib/vmclaude"; cd "$T"; claude"#, "", 127),
    row("vmclaude is gone: command", ALL, r#"rm "$W/lib/vmclaude"; cd "$T"; command claude"#, "", 127),
    row(
        "vmclaude is gone: elsewhere",
        ALL,
        r#"rm "$W/lib/vmclaude"; claude x; command claude y"#,
        "HOST [x]\nHOST [y]\n",
        0,
    ),
    row("the shim is gone", ALL, r#"rm "$S/shims/claude"; cd "$T"; claude"#, "", 127),
    row(
        "a claude in the tree is not the host's",
        ALL,
        r#"mkdir "$T/b"; sed s/WHO=HOST/WHO=TREE/ "$H/claude" > "$T/b/claude"; chmod +x "$T/b/claude"; env PATH="$S/shims:$T/b:$PATH" claude x"#,
        "HOST [x]\n",
        0,
    ),
    row(
        "a second shim",
        ALL,
        r#"mkdir -p "$W/b/vmclaude/shims"; cp "$S/shims/claude" "$W/b/vmclaude/shims"; env PATH="$W/b/vmclaude/shims:$PATH" "$S/shims/claude" x"#,
        "HOST [x]\n",
        0,
    ),
    row(
        "a link to the shim",
        ALL,
        r#"mkdir "$W/b"; ln -s "$S/shims/claude" "$W/b/claude"; cd "$T"; "$W/b/claude" x"#,
        "VM [x]\n",
        0,
    ),
    row("--add-dir into the tree", ALL, r#"claude -p x --add-dir /tmp ../tr\ ee/sub"#, "", 78),
    row("--add-dir by a tilde", ALL, r#"ln -s "$T" "$HOME/t"; claude -p x '--add-dir=~/t/sub'"#, "", 78),
    row("--add-dir by a tilde and spaces", ALL, r#"ln -s "$T" "$HOME/t"; claude --add-dir ' ~/t ' -p x"#, "", 78),
    row("--add-dir at home", ALL, r#"claude '--add-dir=~'"#, "HOST [--add-dir=~]\n", 0),
    row("--add-dir elsewhere", ALL, r#"claude --add-dir ../tr\ ee-evil"#, "HOST [--add-dir] [../tr ee-evil]\n", 0),
    row("three times loaded", ALL, r#". "%HOOK%"; . "%HOOK%"; cd "$T"; claude x"#, "VM [x]\n", 0),
    row("an inner shell's directory", ALL, r#"cd "$T"; sh -c 'cd "$O" && claude x'"#, "HOST [x]\n", 0),
    row(
        "an editor's wrapper: the tree",
        ALL,
        r#"cd "$T"; "$S/wrapper" "$H/claude" -p 'b c' ''"#,
        "VM [-p] [b c] []\n",
        0,
    ),
    row("an editor's wrapper: outside", ALL, r#""$S/wrapper" "$H/claude" -p 'b c' ''"#, "HOST [-p] [b c] []\n", 0),
    row("an editor's wrapper: any program", ALL, r#""$S/wrapper" "$W/tools/env" -i "$W/tools/seq" 1"#, "1\n", 0),
    row("an editor's wrapper: a link out", ALL, r#"cd "$T/link-out"; "$S/wrapper" "$H/claude" x"#, "", 78),
    row(
        "an editor's wrapper: replaced",
        ALL,
        r#"mv "$T" "$W/moved"; mkdir "$T"; cd "$T"; "$S/wrapper" "$H/claude" x"#,
        "",
        78,
    ),
    row("an editor's wrapper: registry lost", ALL, r#"rm "$S/registry"; "$S/wrapper" "$H/claude" x"#, "", 78),
    row(
        "an editor's wrapper: a copy of it",
        ALL,
        r#"cp "$S/wrapper" "$W/x"; cd "$T"; "$W/x/wrapper" "$H/claude" x"#,
        "",
        78,
    ),
    row(
        "an editor's wrapper: another name of it",
        ALL,
        r#"ln "$S/wrapper" "$W/x/wrapper"; cd "$T"; "$W/x/wrapper" "$H/claude" x"#,
        "",
        78,
    ),
    row("a copy of where", ALL, r#"cp "$S/where" "$W/x"; cd "$T"; "$W/x/where""#, "", 78),
    row(
        "an editor's wrapper: a link to it",
        ALL,
        r#"ln -s "$S/wrapper" "$W/x/w"; cd "$T"; "$W/x/w" "$H/claude" x"#,
        "VM [x]\n",
        0,
    ),
    row("an editor's wrapper: --add-dir", ALL, r#""$S/wrapper" "$H/claude" --add-dir ../tr\ ee/sub"#, "", 78),
    row(
        "an editor's wrapper: vmclaude is gone",
        ALL,
        r#"rm "$W/lib/vmclaude"; cd "$T"; "$S/wrapper" "$H/claude" x"#,
        "",
        127,
    ),
    row("an editor's wrapper: nothing there", ALL, r#""$S/wrapper" "$W/missing" x"#, "", 127),
    row("an editor's wrapper: no program", ALL, r#""$S/wrapper""#, "", 64),
    row("an editor's wrapper: its exit code", ALL, r#""$S/wrapper" "$H/claude" exit 37"#, "", 37),
    row("strict shells: the tree", STRICT, r#"cd "$T"; claude; claude x"#, "VM\nVM [x]\n", 0),
    row("strict shells: outside", STRICT, r#"claude x"#, "HOST [x]\n", 0),
    row("strict shells: a link out", STRICT, r#"cd "$T/link-out"; claude x"#, "", 78),
    row(
        "hashed before the hook",
        &[&["bash"]],
        r#"PATH="$H:$W/tools"; command claude 1; hash -t claude >/dev/null; . "$S/hook.bash"; cd "$T"; command claude 2"#,
        "HOST [1]\nVM [2]\n",
        0,
    ),
    row(
        "the function alone: bash",
        &[&["bash"]],
        r#"cd "$T"; f=$(declare -f claude); env PATH="$H:$W/tools" bash -c "$f; claude x""#,
        "VM [x]\n",
        0,
    ),
    row(
        "the function alone: zsh",
        &[&["zsh"]],
        r#"cd "$T"; f=$(functions claude); env PATH="$H:$W/tools" zsh -fc "$f; claude x""#,
        "VM [x]\n",
        0,
    ),
    row(
        "the function alone: fish",
        &[&["fish"]],
        r#"cd "$T"; functions claude | env PATH="$H:$W/tools" fish -Nc 'source; claude x'"#,
        "VM [x]\n",
        0,
    ),
    row(
        "completions stay: bash",
        &[&["bash"]],
        r#"complete -W w claude; . "$S/hook.bash"; complete -p claude"#,
        "complete -W 'w' claude\n",
        0,
    ),
    row(
        "completions stay: zsh",
        &[&["zsh"]],
        // Without its modules, as zsh 5.8 is here, there are no completions but in their table.
        r#"if zmodload zsh/zle 2>/dev/null; then autoload -Uz compinit && compinit -D -u; compdef _files claude
           else typeset -A _comps; _comps[claude]=_files; fi; . "$S/hook.zsh"; print -r -- $_comps[claude]"#,
        "_files\n",
        0,
    ),
    row(
        "completions stay: fish",
        &[&["fish"]],
        r#"complete -c claude -a w; . "$S/hook.fish"; complete -C 'claude w'"#,
        "w\n",
        0,
    ),
];

#[test]
fn every_way_to_say_claude() {
    let shells = |row: &Row| row.shells.iter().map(|words| words.to_vec()).collect();
    check(shells);
}

/// Another version runs what its plain namesake runs.
#[allow(clippy::print_stdout)] // as in a test
fn every_way_in(shell: &'static str) {
    if find(shell).is_none() {
        println!("skipped {}: {}", shell.replace(['-', '.'], "_"), why_missing(shell));
        return;
    }
    check(|row| if row.shells.contains(&&[base(shell)][..]) { vec![vec![shell]] } else { Vec::new() });
}

#[test]
fn every_way_in_bash_3_2() {
    every_way_in("bash-3.2");
}

#[test]
fn every_way_in_bash_5_1() {
    every_way_in("bash-5.1");
}

#[test]
fn every_way_in_bash_5_3() {
    every_way_in("bash-5.3");
}

#[test]
fn every_way_in_fish_4() {
    every_way_in("fish-4");
}

#[test]
fn every_way_in_zsh_5_8() {
    every_way_in("zsh-5.8");
}

fn check<'a>(shells: impl Fn(&'a Row) -> Vec<Vec<&'a str>>) {
    let checks: Vec<_> = ROWS.iter().flat_map(|row| shells(row).into_iter().map(move |shell| (row, shell))).collect();
    let failures: Vec<String> = checks.iter().filter_map(|(row, shell)| wrong(row, shell)).collect();
    assert!(
        checks.len() > 20 && failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        checks.len(),
        failures.join("\n")
    );
}

fn wrong(row: &Row, shell: &[&str]) -> Option<String> {
    let done = World::new().script(shell, row.script);
    let right = (done.out.as_str(), done.code) == (row.out, row.code) && (row.code != 0 || done.err.is_empty());
    (!right).then(|| format!("{} in {shell:?}: {done:?}", row.name))
}

#[test]
fn make_finds_the_shim() {
    let world = World::new();
    std::fs::write(world.path("tr ee/Makefile"), "all:\n\t@claude x\n").expect("write");
    let done = world.script(&["bash"], r#"cd "$T"; make"#);
    assert!(done.out.contains("VM [x]"), "{done:?}");
}

#[test]
fn a_refusal_names_both_paths_and_what_to_type() {
    let done = World::new().script(&["zsh"], r#"cd "$T/link-out"; claude"#);
    for part in ["tr ee/link-out", "/out", "because", "try: cd "] {
        assert!(done.err.contains(part), "{part} in {}", done.err);
    }
}
