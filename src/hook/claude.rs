//! The host's Claude Code: our hook in its settings, put in and taken out so that every other byte stays.

use crate::hook::splice::Container;
use crate::hook::{Shell, quote};
use jsonc_parser::ast::Value as Json;
use jsonc_parser::common::Ranged;
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
    let ours: Vec<Vec<String>> = EVENTS.iter().map(|event| ours(&all, event)).collect();
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

/// Settings without any hook of ours, and without what [`add`] made for it: of the ways to take it out, the one after which
/// [`add`] would write this very text. The empty text is no file.
///
/// # Errors
/// In words, when these are not settings.
pub fn remove(settings: &str) -> Result<String, String> {
    let Some(command) = first_command(settings) else { return parse(settings).map(|_| settings.to_owned()) };
    if add("", &command).is_ok_and(|new| new == settings) {
        return Ok(String::new());
    }
    let was = |less: &str| add(less, &command).is_ok_and(|again| again == settings);
    // The likely ones first.
    for there in [0, 4, 1, 2, 3, 5, 6, 7] {
        let less = without(settings, Before { hooks: there & 4 != 0, events: [there & 1 != 0, there & 2 != 0] })?;
        if was(&less) {
            return Ok(less);
        }
    }
    // Somebody has changed it since: then what holds nothing goes.
    without(settings, Before::default())
}

/// What was there, and empty, before our hook.
#[derive(Clone, Copy, Default)]
struct Before {
    hooks: bool,
    /// In the order of [`EVENTS`].
    events: [bool; 2],
}

fn without(settings: &str, before: Before) -> Result<String, String> {
    let mut text = settings.to_owned();
    while let Some(less) = without_one(&text, before)? {
        text = less;
    }
    Ok(text)
}

/// Without the first hook of ours; `None` when there is none.
fn without_one(text: &str, before: Before) -> Result<Option<String>, String> {
    let Some(Json::Object(all)) = parse(text)? else { return Ok(None) };
    let Some(at) = all.properties.iter().position(|p| p.name.as_str() == "hooks") else { return Ok(None) };
    let Json::Object(events) = &all.properties[at].value else { return Ok(None) };
    for (event, groups) in events.properties.iter().enumerate() {
        let name = groups.name.as_str();
        let Json::Array(groups) = &groups.value else { continue };
        for (group, whole) in groups.elements.iter().enumerate() {
            let Some(hooks) = whole.as_object().and_then(|g| g.get_array("hooks")) else { continue };
            let Some(hook) = hooks.elements.iter().position(runs_us) else { continue };
            // The outermost of what holds nothing else goes as a whole, but for what is not of our making.
            let levels: [(Container, usize, bool); 4] = [
                (Container::from(&all), at, !before.hooks),
                (Container::from(events), event, !EVENTS.iter().zip(before.events).any(|(e, was)| was && *e == name)),
                (Container::from(groups), group, is_our_group(text, whole, name)),
                (Container::from(hooks), hook, true),
            ];
            let goes = |n: &usize| {
                levels[*n..].iter().all(|(_, _, is_ours)| *is_ours)
                    && levels[n + 1..].iter().all(|(container, ..)| container.has_one())
            };
            return Ok((0..4).find(goes).map(|n| levels[n].0.remove(text, levels[n].1)));
        }
    }
    Ok(None)
}

/// Whether a group is as we make it, for whatever command.
fn is_our_group(text: &str, whole: &Json<'_>, event: &str) -> bool {
    let value: Value = serde_json::from_str(whole.text(text)).unwrap_or_default();
    value["hooks"][0]["command"].as_str().is_some_and(|command| value == group(event, command))
}

/// The command of the first hook of ours.
fn first_command(settings: &str) -> Option<String> {
    let all: Value = serde_json::from_str(settings).ok()?;
    all["hooks"].as_object()?.keys().find_map(|event| ours(&all, event).into_iter().next())
}

/// The commands of our hooks for an event.
fn ours(all: &Value, event: &str) -> Vec<String> {
    let groups = all["hooks"][event].as_array().into_iter().flatten();
    let hooks = groups.flat_map(|group| group["hooks"].as_array().into_iter().flatten());
    let texts = hooks.filter_map(|hook| hook["command"].as_str());
    texts.filter(|text| is_ours(text)).map(str::to_owned).collect()
}

fn runs_us(hook: &Json<'_>) -> bool {
    let command = hook.as_object().and_then(|hook| hook.get("command"));
    matches!(command.map(|prop| &prop.value), Some(Json::StringLit(text)) if is_ours(&text.value))
}

/// Whether a hook's command is ours, also in the words of another version or of a person: a program called vmclaude, and the word
/// guard right behind it.
fn is_ours(command: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    command.match_indices("vmclaude").any(|(at, name)| {
        let behind = command[at + name.len()..].trim_start_matches(['\'', '"']);
        let word = behind.trim_start();
        !command[..at].ends_with(is_name)
            && word.len() < behind.len()
            && word.strip_prefix("guard").is_some_and(|rest| !rest.starts_with(|c| is_name(c) || c == '/'))
    })
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
#[path = "claude_tests.rs"]
mod tests;
