//! `volume create`, `list`, `delete`: sparse files with an ext4, kept until somebody removes them.

use crate::cli::Parsed;
use crate::run_words::{Bad, size};
use crate::state::{State, now};
use crate::{fail, print, service};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a volume has where nobody says otherwise.
const SIZE: &str = "512g";
const LEAST: u64 = 1 << 20;

fn bad<T>(message: String) -> Result<T, Bad> {
    Err(("internalError", message))
}

fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= 255 && name.chars().all(inner)
}

/// The file of a volume.
pub(crate) fn file(state: &State, name: &str) -> PathBuf {
    state.volume(name).join("volume.img")
}

fn look(state: &State, name: &str) -> Option<Value> {
    let config: Value = serde_json::from_slice(&fs::read(state.volume(name).join("entity.json")).ok()?).ok()?;
    Some(json!({ "id": name, "configuration": config }))
}

fn names(state: &State) -> Vec<String> {
    let entries = fs::read_dir(state.volume("")).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

fn pairs(all: &[&str]) -> BTreeMap<String, String> {
    all.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub(crate) fn create(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = service::down(state) {
        return down;
    }
    match made(state, words) {
        Ok(name) => {
            print(&name);
            ExitCode::SUCCESS
        }
        Err(bad) => fail(bad),
    }
}

fn made(state: &State, words: &Parsed) -> Result<String, Bad> {
    let name = words.positionals[0].clone();
    let (labels, mut options) = (pairs(&words.values("label")), pairs(&words.values("opt")));
    if let Some(size) = words.value("s") {
        options.insert("size".into(), size.into());
    }
    if !is_name(&name) {
        return bad(format!("invalid volume name '{name}': must match ^[A-Za-z0-9][A-Za-z0-9_.-]*$"));
    }
    if names(state).contains(&name) {
        return bad(format!("volume '{name}' already exists"));
    }
    if labels.is_empty() {
        return bad("vmclaude must never make a volume without labels".into());
    }
    let bytes = size(options.get("size").map_or(SIZE, String::as_str))?;
    if bytes < LEAST {
        return bad("volume size too small: minimum 1MiB".into());
    }
    let mode = options.get("journal").map(|text| text.split(':').next().unwrap_or_default());
    if mode.is_some_and(|mode| !["writeback", "ordered", "journal"].contains(&mode)) {
        return bad(format!("invalid journal mode '{mode:?}': must be writeback, ordered, or journal"));
    }
    let config = json!({
        "name": name, "driver": "local", "format": "ext4", "source": file(state, &name), "creationDate": now(),
        "labels": labels, "options": options, "sizeInBytes": bytes,
    });
    let write = || -> std::io::Result<()> {
        let dir = state.aside(&name)?;
        let image = dir.join("volume.img");
        fs::File::create(&image)?.set_len(bytes)?;
        vmclaude::image::make_volume(&image).map_err(|e| std::io::Error::other(e.to_string()))?;
        fs::write(dir.join("entity.json"), serde_json::to_vec(&config)?)?;
        fs::create_dir_all(state.volume(""))?;
        fs::rename(dir, state.volume(&name))
    };
    write().map_err(|e| ("internalError", format!("cannot make volume {name}: {e}")))?;
    Ok(name)
}

pub(crate) fn list(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = service::down(state) {
        return down;
    }
    let all: Vec<Value> = names(state).iter().filter_map(|name| look(state, name)).collect();
    match words.value("format") {
        Some("json") => print(&serde_json::to_string(&all).expect("JSON").replace('/', "\\/")),
        _ => all.iter().for_each(|v| print(v["id"].as_str().unwrap_or_default())),
    }
    ExitCode::SUCCESS
}

pub(crate) fn delete(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = service::down(state) {
        return down;
    }
    if words.has("all") {
        return fail(("invalidArgument", "vmclaude must never act on all volumes".into()));
    }
    if words.positionals.is_empty() {
        return fail(("invalidArgument", "no volumes specified and --all not supplied".into()));
    }
    for name in &words.positionals {
        let has = |container: &String| {
            let config = state.config(container).unwrap_or_default();
            let all = config["mounts"].as_array().cloned().unwrap_or_default();
            all.iter().any(|mount| mount["type"]["volume"]["name"] == **name)
        };
        if !names(state).contains(name) {
            return fail(("internalError", format!("volume '{name}' not found")));
        }
        // One that is stopped counts too.
        if state.names().iter().any(has) {
            return fail(("internalError", format!("volume '{name}' is currently in use")));
        }
        if let Err(e) = state.discard(&state.volume(name), name) {
            return fail(("internalError", format!("cannot delete volume {name}: {e}")));
        }
        print(name);
    }
    ExitCode::SUCCESS
}
