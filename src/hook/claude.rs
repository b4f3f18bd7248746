//! The host's Claude Code: our hook in its settings, put in and taken out so that every other byte stays.

use crate::hook::splice::Container;
use crate::hook::{Shell, quote};
use jsonc_parser::ast::Value as Json;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde_json::{Value, json};
use std::path::Path;

/// When Claude Code asks: before it sends a prompt, and before it uses a tool.
const EVENTS: [&str; 2] = ["UserPromptSubmit", "PreToolUse"];

/// What settings say of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// Nothing.
    No,
    /// Something that is not this vmclaude's: an older one, or a hook for one event only.
    Otherwise,
    /// Both events ask this vmclaude.
    Yes,
}

/// The command of the hook. Only exit 2 stops Claude Code, so a guard that cannot even be started has to end with it.
///
/// # Errors
/// When a path is not text.
pub fn command(exe: &Path, state: &Path) -> Result<String, String> {
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(quote(Shell::Bash, text)),
        None => Err(format!("{} is not valid UTF-8", path.display())),
    };
    Ok(format!("{} guard --state {} || exit 2", text(exe)?, text(state)?))
}

/// Whether these settings have the hook.
pub fn registered(settings: &str, command: &str) -> Registered {
    let all: Value = serde_json::from_str(settings).unwrap_or_default();
    let commands = |event: &&str| -> Vec<String> {
        let groups = all["hooks"][event].as_array().into_iter().flatten();
        let hooks = groups.flat_map(|group| group["hooks"].as_array().into_iter().flatten());
        let texts = hooks.filter_map(|hook| hook["command"].as_str());
        texts.filter(|text| is_ours(text)).map(str::to_owned).collect()
    };
    let ours: Vec<Vec<String>> = EVENTS.iter().map(commands).collect();
    match () {
        () if ours.iter().all(|texts| *texts == [command]) => Registered::Yes,
        () if ours.iter().all(Vec::is_empty) => Registered::No,
        () => Registered::Otherwise,
    }
}

/// Settings with the hook, and no other of ours. A file that is not there yet is the empty text.
///
/// # Errors
/// In words, when these are not settings that can be added to.
pub fn add(settings: &str, command: &str) -> Result<String, String> {
    if registered(settings, command) == Registered::Yes {
        return Ok(settings.to_owned());
    }
    let without = if settings.trim().is_empty() { String::new() } else { remove(settings)? };
    let mut text = if without.is_empty() { "{}\n".to_owned() } else { without };
    for event in EVENTS {
        text = with_group(&text, event, group(event, command))?;
    }
    match registered(&text, command) {
        Registered::Yes => Ok(text),
        _ => Err("it says something twice".to_owned()),
    }
}

fn group(event: &str, command: &str) -> Value {
    match event {
        "PreToolUse" => json!({ "matcher": "*", "hooks": [{ "type": "command", "command": command }] }),
        _ => json!({ "hooks": [{ "type": "command", "command": command }] }),
    }
}

fn with_group(text: &str, event: &str, group: Value) -> Result<String, String> {
    let strange = |name: &str| format!("its {name:?} is not what Claude Code takes");
    let parsed = parse(text)?;
    let Some(Json::Object(all)) = &parsed else { return Err("it does not hold an object".to_owned()) };
    let Some(hooks) = all.get("hooks") else {
        return Ok(Container::from(all).append(text, Some("hooks"), &json!({ event: [group] })));
    };
    let Json::Object(events) = &hooks.value else { return Err(strange("hooks")) };
    match events.get(event).map(|prop| &prop.value) {
        None => Ok(Container::from(events).append(text, Some(event), &json!([group]))),
        Some(Json::Array(groups)) => Ok(Container::from(groups).append(text, None, &group)),
        Some(_) => Err(strange(event)),
    }
}

/// Settings without any hook of ours, and without what is empty for that reason. Nothing is left of an otherwise empty file.
///
/// # Errors
/// In words, when these are not settings.
pub fn remove(settings: &str) -> Result<String, String> {
    let mut text = settings.to_owned();
    while let Some(less) = without_one(&text)? {
        text = less;
    }
    Ok(text)
}

/// Without the first hook of ours; `None` when there is none.
fn without_one(text: &str) -> Result<Option<String>, String> {
    let Some(Json::Object(all)) = parse(text)? else { return Ok(None) };
    let Some(at) = all.properties.iter().position(|p| p.name.as_str() == "hooks") else { return Ok(None) };
    let Json::Object(events) = &all.properties[at].value else { return Ok(None) };
    for (event, groups) in events.properties.iter().enumerate() {
        let Json::Array(groups) = &groups.value else { continue };
        for (group, hooks) in groups.elements.iter().enumerate() {
            let Some(hooks) = hooks.as_object().and_then(|g| g.get_array("hooks")) else { continue };
            let Some(hook) = hooks.elements.iter().position(runs_us) else { continue };
            // The outermost of what holds nothing else goes as a whole.
            let levels: [(Container, usize); 4] = [
                (Container::from(&all), at),
                (Container::from(events), event),
                (Container::from(groups), group),
                (Container::from(hooks), hook),
            ];
            if levels.iter().all(|(container, _)| container.has_one()) {
                return Ok(Some(String::new()));
            }
            let outermost = (0..4).find(|n| levels[n + 1..].iter().all(|(container, _)| container.has_one()));
            return Ok(outermost.map(|n| levels[n].0.remove(text, levels[n].1)));
        }
    }
    Ok(None)
}

fn runs_us(hook: &Json<'_>) -> bool {
    let command = hook.as_object().and_then(|hook| hook.get("command"));
    matches!(command.map(|prop| &prop.value), Some(Json::StringLit(text)) if is_ours(&text.value))
}

/// Whether a hook's command is ours, also in the words of another version or of a person.
fn is_ours(command: &str) -> bool {
    command.contains("vmclaude") && command.split_whitespace().any(|word| word == "guard")
}

/// As strict as Claude Code itself. The empty text is no file.
fn parse(text: &str) -> Result<Option<Json<'_>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str::<Value>(text).map_err(|e| e.to_string())?;
    let parsed = parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default());
    parsed.map(|result| result.value).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = "'/p/bin/vmclaude' guard --state '/s' || exit 2";

    const FILES: [&str; 12] = [
        "{\"a\":1}",
        "{\n  \"a\": 1\n}\n",
        "{\n\t\"a\": [1,\n2],   \"b\" : 1.0e3,\n\n\t\"c\": \"\\u00e9 \\/\"\n}",
        "{\r\n  \"a\": 1\r\n}\r\n",
        "{\n  \"hooks\": {\n    \"Stop\": [\n      {\"hooks\": []}\n    ]\n  },\n  \"z\": null\n}\n",
        "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\n        \"matcher\": \"Bash\",\n        \"hooks\": [\n          { \"type\": \"command\", \"command\": \"lint\" }\n        ]\n      }\n    ]\n  }\n}\n",
        "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"lint\"}]}]},\"model\":\"opus\"}",
        "  {\"hooks\": {\"UserPromptSubmit\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"vmclaude-notes\"}]}]}}  ",
        "{ \"permissions\": { \"allow\": [\"Bash(npm run *)\"] } }",
        "{\n    \"a\": 1,\n    \"b\": {}\n}",
        "{\n  \"big\": 12345678901234567890123,\n  \"twice\": 1,\n  \"twice\": 2\n}\n",
        "{\n  \"a\": 1\n\n}\n",
    ];

    #[test]
    fn in_and_out_again_gives_every_byte_back() {
        for text in FILES {
            assert_eq!(registered(text, COMMAND), Registered::No);
            let with = add(text, COMMAND).expect(text);
            assert_eq!(registered(&with, COMMAND), Registered::Yes, "{with}");
            assert_eq!(add(&with, COMMAND).expect("again"), with, "once is enough");
            assert_eq!(remove(&with).expect("out"), *text, "{with}");
        }
    }

    #[test]
    fn a_file_that_was_not_there_goes_away_again() {
        for nothing in ["", "\n"] {
            let with = add(nothing, COMMAND).expect("new");
            assert!(with.ends_with("}\n") && with.contains("\"matcher\": \"*\""), "{with}");
            assert_eq!(remove(&with).expect("out"), "");
        }
    }

    #[test]
    fn what_is_not_settings_is_not_touched() {
        for bad in [
            "nonsense",
            "[]",
            "3",
            "{\"hooks\": 3}",
            "{\"hooks\": {\"PreToolUse\": {}}}",
            "{\"a\": 1,}",
            "{ // no\n}",
            "{'a': 1}",
            "\u{feff}{}",
            "{\"hooks\": {}, \"hooks\": {}}",
        ] {
            let why = add(bad, COMMAND).expect_err(bad);
            assert!(!why.is_empty());
        }
    }

    #[test]
    fn another_versions_hook_gives_way_and_other_hooks_of_the_group_stay() {
        let old = add("{}", "/old/vmclaude guard || exit 2").expect("old");
        assert_eq!(registered(&old, COMMAND), Registered::Otherwise);
        let new = add(&old, COMMAND).expect("new");
        assert_eq!(new.matches("guard").count(), 2, "{new}");
        let shared = "{\"hooks\":{\"PreToolUse\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"sh -c 'vmclaude guard || exit 2'\"},{\"type\":\"command\",\"command\":\"lint\"}]}]}}";
        assert_eq!(registered(shared, COMMAND), Registered::Otherwise, "one event of two");
        let left = remove(shared).expect("out");
        assert!(left.contains("lint") && !left.contains("guard"), "{left}");
        serde_json::from_str::<Value>(&left).expect("still JSON");
    }

    #[test]
    fn the_command_survives_any_path() {
        let words = command(Path::new("/a b/it's/vmclaude"), Path::new("/s")).expect("text");
        assert_eq!(words, r"'/a b/it'\''s/vmclaude' guard --state '/s' || exit 2");
        assert_eq!(registered(&add("{}", &words).expect("in"), &words), Registered::Yes);
    }
}
