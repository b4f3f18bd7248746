//! What `vmclaude status` says of each fact of the decision, and what it tells to type where something is wrong.

use crate::world::{Done, VMCLAUDE, World, shell_of};
use serde_json::{Value, json};
use std::process::Command;
use vmclaude::hook::start_lines;

/// `vmclaude status --json`, asked where `before` or `cd` leads.
fn status(world: &World, before: &str, cd: &str) -> Value {
    let cd = if cd.is_empty() { ":".to_owned() } else { format!("cd {cd}") };
    let script = format!("{before}\n{cd} && exec '{VMCLAUDE}' status --json");
    let done: Done = world.run(world.shell(&["sh", "-c"]).arg(script));
    serde_json::from_str(&done.out).unwrap_or_else(|e| panic!("{e}: {done:?}"))
}

/// The next commands of the problems whose text has `what`.
fn next(status: &Value, what: &str) -> Vec<String> {
    let problems = status["problems"].as_array().expect("a list").iter();
    let wanted = problems.filter(|p| p.to_string().contains(what));
    wanted.map(|p| p["next"].as_str().unwrap_or_else(|| panic!("nothing to type: {p}")).to_owned()).collect()
}

/// The shim first on PATH, and a home that it was not set up for.
const ELSEWHERE: &str = "export PATH=\"$S/shims:$PATH\" HOME=\"$W/x\"; unset XDG_STATE_HOME";

/// A world whose hooks and shim are those of the program under test.
fn world() -> World {
    let world = World::new();
    assert_eq!(world.run(Command::new(VMCLAUDE).args(["hook", "--install"])).code, 0);
    world
}

#[test]
fn each_cell_of_the_decision_is_told_with_its_reason() {
    let here = |world: &World| json!(world.path("tr ee").to_str());
    let at = |before: &str, cd: &str| {
        let world = world();
        let status = status(&world, before, cd);
        (status, world)
    };
    let (said, world) = at("", "\"$T/sub\"");
    assert_eq!((&said["claude"]["runs"], &said["claude"]["tree"]["root"]), (&json!("vm"), &here(&world)));
    assert_eq!(said["claude"]["tree"]["guest"], "/workspace/sub");
    assert_eq!(said["claude"]["tree"]["moved_from"], Value::Null, "by its path");
    let (said, world) = at("mv \"$T\" \"$W/moved\"", "\"$W/moved\"");
    assert_eq!((&said["claude"]["runs"], &said["claude"]["tree"]["moved_from"]), (&json!("vm"), &here(&world)));
    let (said, world) = at("", "\"$O\"");
    assert_eq!((&said["claude"]["runs"], &said["claude"]["tree"]), (&json!("host"), &Value::Null));
    assert_eq!(said["claude"]["host"], json!(world.path("bin/claude").to_str()));
    for (before, cd, why, command) in [
        ("mv \"$T\" \"$W/moved\"; mkdir \"$T\"", "\"$T\"", "not the directory", "vmclaude enroll"),
        ("", "\"$T/link-out\"", "link-out", "cd "),
        ("sed -n 1p \"$S/registry\" >\"$S/r\"; mv \"$S/r\" \"$S/registry\"", "\"$O\"", "registry", "vmclaude"),
        ("chmod 666 \"$S/registry\"", "\"$O\"", "registry", "chmod"),
        ("mkdir \"$T/gone\"; cd \"$T/gone\"; rmdir \"$T/gone\"", "", "does not exist any more", "cd "),
    ] {
        let (said, _) = at(before, cd);
        assert_eq!(said["claude"]["runs"], "refuses", "{before}: {said}");
        let told = next(&said, why);
        assert!(told.iter().any(|next| next.contains(command)), "{before}: {told:?} in {said}");
    }
}

#[test]
fn hooks_shim_image_and_second_barrier_are_looked_at() {
    let world = world();
    let fine = status(&world, "", "\"$T\"");
    assert_eq!((&fine["shell"]["installed"], &fine["shell"]["guard"]), (&json!(true), &json!(false)), "{fine}");
    assert_eq!(next(&fine, "image"), ["vmclaude image build"], "{fine}");
    assert_eq!(fine["shell"]["shim_first"], false);
    let first = status(&world, "PATH=\"$S/shims:$PATH\"", "\"$T\"");
    assert_eq!(first["shell"]["shim_first"], true);
    for spoilt in
        ["rm \"$S/shims/claude\"", "echo >>\"$S/hook.fish\"", "chmod 777 \"$S/shims/claude\"", "rm \"$S/exe\""]
    {
        let said = status(&world, spoilt, "\"$T\"");
        assert_eq!(said["shell"]["installed"], false, "{spoilt}");
        assert_eq!(next(&said, "the shell hooks are not"), ["vmclaude hook --install"], "{spoilt}");
        assert_eq!(world.run(Command::new(VMCLAUDE).args(["hook", "--install"])).code, 0, "{spoilt}");
        assert_eq!(status(&world, "", "\"$T\"")["shell"]["installed"], true, "what it told to type helps: {spoilt}");
    }
    assert_eq!(world.run(Command::new(VMCLAUDE).args(["guard", "--install"])).code, 0);
    assert_eq!(status(&world, "", "\"$T\"")["shell"]["guard"], true);
    let changed = "sed -i 's/guard --state/guard  --state/' \"$HOME/.claude/settings.json\"";
    let said = status(&world, changed, "\"$T\"");
    assert_eq!(said["shell"]["guard"], false);
    assert_eq!(next(&said, "asks another vmclaude"), ["vmclaude guard --install"], "{said}");
}

#[test]
fn another_home_changes_neither_what_claude_does_nor_what_is_said_of_it() {
    let world = world();
    let ran = world.run(world.shell(&["sh", "-c"]).arg(format!("{ELSEWHERE}; cd \"$T\" && exec claude")));
    let images = world.path("ho me's/.local/share/vmclaude/images");
    assert!(
        ran.code == 125 && ran.err.contains(&format!("none was built in {}", images.display())),
        "in a VM: {ran:?}"
    );
    let said = status(&world, ELSEWHERE, "\"$T\"");
    assert_eq!((&said["claude"]["runs"], &said["shell"]["shim_first"]), (&json!("vm"), &json!(true)), "{said}");
    let home = format!("export HOME='{}'", world.path("ho me's").display().to_string().replace('\'', "'\\''"));
    assert_eq!(next(&said, "HOME is not what it was"), std::slice::from_ref(&home), "{said}");
    let again = status(&world, &format!("{ELSEWHERE}; {home}"), "\"$T\"");
    assert_eq!(next(&again, "is not what it was"), [""; 0], "what it told to type helps: {again}");
    let alone = status(&world, "export HOME=\"$W/x\"; unset XDG_STATE_HOME", "\"$T\"");
    assert_eq!(alone["claude"]["runs"], "host", "without the shim nothing leads there: {alone}");
}

#[test]
fn where_path_leads_no_program_is_taken_from_the_settings_there() {
    let world = world();
    world.program(
        "qemu",
        &format!("#!/bin/sh\n: >'{}'\n", world.path("x/asked").display().to_string().replace('\'', "'\\''")),
    );
    let config = world.path("ho me's/.config/vmclaude");
    std::fs::create_dir_all(&config).expect("mkdir");
    std::fs::write(config.join("config.toml"), format!("qemu = {:?}\n", world.path("qemu"))).expect("write");
    let asked = || world.path("x/asked").exists();
    status(&world, ELSEWHERE, "\"$T\"");
    assert!(!asked(), "its settings are not ours");
    status(&world, "", "\"$T\"");
    assert!(asked(), "where they are, that program is asked");
}

/// What each shell is said to make of the word, of bash, fish and zsh in this order.
fn expect(said: &Value, words: [&str; 3]) {
    let all = said["shell"]["shells"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut told: Vec<_> = all.map(|shell| (text(&shell["name"]), text(&shell["claude"]))).collect();
    told.sort();
    let all = ["bash", "fish", "zsh"].iter().zip(words).map(|(name, word)| ((*name).to_owned(), word.to_owned()));
    assert_eq!(told, all.collect::<Vec<_>>(), "{said}");
}

/// Writes a start file.
fn put(world: &World, name: &str, text: &str) {
    let path = world.path(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
    std::fs::write(path, text).expect("write");
}

/// What `vmclaude hook --rc` prints for this shell.
fn lines(world: &World, name: &str) -> String {
    start_lines(shell_of(name), &world.state).expect("text")
}

#[test]
fn what_claude_means_in_each_shell_is_asked_of_that_shell() {
    let world = world();
    let file = world.path("bin/claude").display().to_string();
    let said = status(&world, "", "\"$T\"");
    expect(&said, [&file, &file, &file]);
    for shell in ["bash", "fish", "zsh"] {
        let told = next(&said, &format!("in {shell}, claude does not mean"));
        assert!(told.len() == 1 && told[0].contains(&format!("vmclaude hook --rc {shell} >> ")), "{told:?}");
    }
    let shim = status(&world, "export PATH=\"$S/shims:$PATH\"", "\"$T\"");
    assert_eq!(next(&shim, "claude does not mean"), [""; 0], "the shim is the one of vmclaude: {shim}");
    put(&world, "x/.zshrc", &lines(&world, "zsh"));
    put(&world, "ho me's/.bashrc", &lines(&world, "bash"));
    put(&world, "ho me's/.config/fish/conf.d/vmclaude.fish", &lines(&world, "fish"));
    expect(&status(&world, "", "\"$T\""), ["vmclaude", "vmclaude", "vmclaude"]);
}

/// What the prompt guard lets stay, and what it takes out.
#[test]
fn what_the_prompt_would_do_to_a_start_files_own_claude_has_been_done_when_it_is_told() {
    let world = world();
    let put = |name: &str, text: &str| put(&world, name, text);
    let lines = |name: &str| lines(&world, name);
    put("ho me's/.config/fish/conf.d/vmclaude.fish", &lines("fish"));
    let alias = "alias claude='claude --model opus'\n";
    put("ho me's/.bashrc", &(lines("bash") + alias));
    put("x/.zshrc", &(alias.to_owned() + &lines("zsh")));
    put("ho me's/.config/fish/config.fish", alias);
    let said = status(&world, "", "\"$T\"");
    let fish = "vmclaude (alias command claude --model opus)";
    expect(&said, ["vmclaude (alias claude='claude --model opus')", fish, "vmclaude (alias claude --model opus)"]);
    assert_eq!(next(&said, "claude does not mean"), [""; 0], "it leads to the one of vmclaude: {said}");
    put("ho me's/.bashrc", &format!("{}{alias}function claude {{ echo mine; }}\n", lines("bash")));
    put("x/.zshrc", &(lines("zsh") + "alias claude=\"$H/claude\"\n"));
    put("ho me's/.config/fish/config.fish", "alias claude=\"$H/claude\"\n");
    expect(&status(&world, "", "\"$T\""), ["function", "vmclaude", "vmclaude"]);
    put("ho me's/.config/fish/config.fish", "");
    put("ho me's/.bashrc", &(lines("bash") + "function claude { echo mine; }\n"));
    put("x/.zshrc", &(lines("zsh") + "function claude { echo mine; }\n"));
    let said = status(&world, "", "\"$T\"");
    expect(&said, ["function", "vmclaude", "function"]);
    for shell in ["bash", "zsh"] {
        let told = next(&said, &format!("in {shell}, claude does not mean"));
        assert!(told.len() == 1 && told[0].contains(&format!("start files of {shell}")), "{told:?}");
    }
}
