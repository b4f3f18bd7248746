//! Imports point down only: the table of `docs/design.md`, section 5, held against the sources.

use std::path::Path;

/// Modules by layer. A module may use its own layer's earlier modules and every lower layer.
const LAYERS: &[&[&str]] = &[
    &["closed", "error", "exit", "files", "host", "os", "profile"],
    &["screen", "plan", "settings"],
    &["engine", "hook"],
    &["enrollment", "net", "share", "watch", "session", "state", "git", "image", "tripwire"],
    &["report", "run", "cli"],
    &["main", "lib"],
];

/// Pairs that the order above allows by layer and that are still wrong.
const APART: &[(&str, &str)] = &[
    ("error", "host"),
    ("exit", "error"),
    ("files", "host"),
    ("net", "session"),
    ("share", "session"),
    ("tripwire", "session"),
    ("report", "cli"),
    ("report", "run"),
];

/// What the table allows beyond the order: the flags of a run are defined where clap reads them.
const ALLOWED: &[(&str, &str)] = &[("run", "cli")];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|l| l.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no layer: add it to the table"))
}

fn sources(dir: &Path, into: &mut Vec<(String, String)>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(dir).expect("src").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let first = path.strip_prefix(&root).expect("below src").components().next().expect("a name");
            let module = Path::new(first.as_os_str()).file_stem().expect("a name").to_string_lossy().into_owned();
            into.push((module, std::fs::read_to_string(&path).expect("readable")));
        }
    }
}

/// Every `(module, used module)` of the product's own code; unit tests may use what they like.
fn edges() -> Vec<(String, String)> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut edges = Vec::new();
    for (module, text) in files {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices("crate::") {
                if line[..at].ends_with("pub(") {
                    continue;
                }
                let rest = &line[at + 7..];
                let names = if let Some(group) = rest.strip_prefix('{') { group.trim_end_matches("};") } else { rest };
                let many = rest.starts_with('{');
                for name in names.split(", ").take(if many { usize::MAX } else { 1 }) {
                    let name: String = name.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                    if !name.is_empty() && name != module {
                        edges.push((module.clone(), name));
                    }
                }
            }
        }
    }
    edges
}

#[test]
fn imports_point_down_only() {
    let mut wrong: Vec<String> = Vec::new();
    for (from, to) in edges() {
        let allowed = ALLOWED.contains(&(from.as_str(), to.as_str()));
        let apart = APART.contains(&(from.as_str(), to.as_str()));
        if !allowed && (apart || layer(&from) < layer(&to)) {
            wrong.push(format!("{from} uses {to}"));
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_imports_sees_them() {
    let edges = edges();
    assert!(edges.contains(&("cli".into(), "report".into())), "the test would pass by seeing nothing");
    assert!(edges.len() > 30, "{}", edges.len());
}

/// Files stay small enough to be one thing.
#[test]
fn files_are_small() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let long: Vec<_> =
        files.iter().filter(|(_, text)| text.lines().count() > 320).map(|(m, t)| (m, t.lines().count())).collect();
    assert!(long.is_empty(), "what two things is each of them? {long:?}");
}
