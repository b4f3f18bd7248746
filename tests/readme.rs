//! The README and the other documents say what the program does: commands, exit codes, settings, fields.

use clap::{CommandFactory, Parser};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use vmclaude::cli::args::{Container, Vmclaude};

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect(name)
}

/// The lines of the fenced blocks in this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(name) => inside = !inside && name == language,
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// The first column of the table rows, without its backticks.
fn keys(text: &str) -> BTreeSet<String> {
    let first = |line: &str| line.strip_prefix("| ")?.split(" |").next().map(|c| c.trim_matches('`').to_owned());
    text.lines().filter_map(first).collect()
}

fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let from = text.find(&format!("\n## {title}")).expect(title);
    let rest = &text[from + 4..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// Splits as a shell would, as far as the README goes: blanks and double quotes.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or_default();
    let quoted: Vec<&str> = line.split('"').collect();
    quoted
        .iter()
        .enumerate()
        .flat_map(|(n, part)| match n % 2 {
            1 => vec![(*part).to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

#[test]
fn every_command_of_the_readme_is_one() {
    let mut seen = 0;
    for line in blocks(&read("README.md"), "sh") {
        let words = words(&line);
        let verbs = Vmclaude::command();
        match words.first().map(String::as_str) {
            Some("vmclaude")
                if verbs.get_subcommands().any(|c| Some(c.get_name()) == words.get(1).map(String::as_str)) =>
            {
                Vmclaude::try_parse_from(&words).unwrap_or_else(|e| panic!("{line}\n{e}"));
            }
            Some("vmclaude") if words[1] == "help" => {
                let done = Command::new(env!("CARGO_BIN_EXE_vmclaude")).args(&words[1..]).stdin(Stdio::null()).output();
                assert!(done.expect("starts").status.success(), "{line}");
            }
            // Claude's own words.
            Some("vmclaude") => assert!(words[1].starts_with('-'), "{line}"),
            Some("vmclaude-container") => {
                Container::try_parse_from(&words).unwrap_or_else(|e| panic!("{line}\n{e}"));
            }
            Some("claude") | None => {}
            Some(script) => assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(script).is_file(), "{line}"),
        }
        seen += 1;
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn the_exit_codes_are_those_of_the_source() {
    let source = read("src/exit.rs");
    let value =
        |line: &str| Some(line.strip_prefix("pub const ")?.split_once(": u8 = ")?.1.trim_end_matches(';').to_owned());
    let ours: BTreeSet<String> = source.lines().filter_map(value).collect();
    let mut documented = keys(section(&read("README.md"), "Exit codes"));
    documented.retain(|key| key.parse::<u8>().is_ok());
    assert_eq!(documented, ours);
}

#[test]
fn the_configuration_is_accepted_as_it_is_printed_and_complete() {
    let readme = read("README.md");
    let text = blocks(section(&readme, "Configuration"), "toml").join("\n");
    let home = tempfile::tempdir().expect("tempdir");
    let file = home.path().join("c/vmclaude/config.toml");
    std::fs::create_dir_all(file.parent().expect("a parent")).expect("mkdir");
    let problems = |text: &str| {
        std::fs::write(&file, text).expect("write");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmclaude"));
        command
            .args(["status", "--json"])
            .env_clear()
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path().join("c"));
        let out = command.stdin(Stdio::null()).current_dir(home.path()).output().expect("starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(!problems(&text).contains("cannot use"), "{}", problems(&text));
    assert!(problems(&format!("mistyped = 1\n{text}")).contains("cannot use"));
    // Every field of the file's form is in the block: what the parser knows is in its complaint about what it does not.
    let documented: toml::Table = text.parse().expect("TOML");
    let mut known = BTreeSet::new();
    for table in std::iter::once("").chain(documented.iter().filter(|(_, v)| v.is_table()).map(|(k, _)| k.as_str())) {
        let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let said = problems(&format!("{head}mistyped = 1\n"));
        let names = said.split("expected").nth(1).expect("what is expected").split("\\n").next().unwrap_or_default();
        for name in names.split('`').skip(1).step_by(2) {
            let found = if table.is_empty() { documented.get(name) } else { documented[table].get(name) };
            assert!(found.is_some(), "{table} {name} is not in the README");
            known.insert(name.to_owned());
        }
    }
    assert!(known.len() >= 8, "{known:?}");
}

#[test]
fn the_variables_are_read() {
    let readme = read("README.md");
    let sources = ["src/settings/file.rs", "src/run.rs", "src/report/log.rs", "shell/vmclaude.bash"].map(read).concat();
    for key in keys(section(&readme, "Configuration")).iter().filter(|k| k.starts_with("VMCLAUDE_")) {
        assert!(sources.contains(key.as_str()), "{key}");
    }
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "README.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/design.md",
        "docs/status.md",
        "docs/shells.md",
        "docs/project-file.md",
        "docs/review.md",
        "docs/threat-model.md",
    ] {
        let text = read(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = root.join(name).parent().expect("a parent").join(link.split('#').next().unwrap_or(link));
            assert!(target.exists(), "{name} links {link}");
        }
    }
}

/// Every path of the answer, with `[]` for a list's members.
fn fields(value: &serde_json::Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                into.insert(at.clone());
                fields(value, &at, into);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, &format!("{at}[]"), into)),
        _ => {}
    }
}

#[test]
fn every_field_of_the_status_is_documented() {
    let documented = keys(&read("docs/status.md"));
    let home = tempfile::tempdir().expect("tempdir");
    let project = home.path().join("home/p");
    std::fs::create_dir_all(&project).expect("mkdir");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmclaude"));
        command
            .args(words)
            .env_clear()
            .env("HOME", home.path().join("home"))
            .current_dir(&project)
            .stdin(Stdio::null());
        let out = command.output().expect("starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    assert!(
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build-shim")).status().expect("sh").success()
    );
    run(&["enroll"]);
    let answer: serde_json::Value = serde_json::from_slice(&run(&["status", "--json"])).expect("JSON");
    let mut found = BTreeSet::new();
    fields(&answer, "", &mut found);
    assert!(found.len() > 20, "{found:?}");
    // An object whose fields have rows needs none itself.
    let has_fields = |field: &str| documented.iter().any(|d| d.starts_with(&format!("{field}.")));
    let missing: Vec<_> = found.difference(&documented).filter(|field| !has_fields(field)).collect();
    assert!(missing.is_empty(), "not in docs/status.md: {missing:?}");
    assert_eq!(answer["claude"]["runs"], "vm");
    assert_eq!(answer["claude"]["tree"]["guest"], "/workspace");
    assert_eq!(answer["image"], serde_json::Value::Null);
    for problem in answer["problems"].as_array().expect("a list") {
        assert!(problem["next"].is_string(), "nothing to type: {problem}");
    }
}
