//! What deny.toml says of dependencies, held against `cargo metadata`: licences, banned crates, sources. cargo-deny does the
//! same and advisories, where it is installed.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn deny() -> toml::Table {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).expect("deny.toml");
    text.parse().expect("TOML")
}

/// Every package of the lock file that this platform builds.
fn packages() -> Vec<Value> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform]);
    let out = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let answer: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    answer["packages"].as_array().expect("a list").clone()
}

/// Whether an SPDX expression can be met with these licences. AND binds stronger than OR; a slash is an old OR.
fn allowed(expression: &str, licences: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&words, &mut at, licences);
    met && at == words.len()
}

fn any(words: &[&str], at: &mut usize, licences: &BTreeSet<&str>) -> bool {
    let mut met = all(words, at, licences);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(words, at, licences);
    }
    met
}

fn all(words: &[&str], at: &mut usize, licences: &BTreeSet<&str>) -> bool {
    let mut met = one(words, at, licences);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(words, at, licences);
    }
    met
}

fn one(words: &[&str], at: &mut usize, licences: &BTreeSet<&str>) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let met = any(words, at, licences);
        *at += 1;
        return met;
    }
    // An exception takes nothing away, but a licence with one is another licence until somebody has read it.
    if words.get(*at) == Some(&"WITH") {
        *at += 2;
        return false;
    }
    licences.contains(word)
}

#[test]
fn licences_are_those_of_deny_toml_and_each_of_those_is_needed() {
    let deny = deny();
    let list = deny["licenses"]["allow"].as_array().expect("a list");
    let licences: BTreeSet<&str> = list.iter().map(|l| l.as_str().expect("text")).collect();
    let packages = packages();
    assert!(packages.len() > 50, "{}", packages.len());
    let expression = |p: &Value| p["license"].as_str().unwrap_or("none").to_owned();
    let wrong: Vec<_> = packages
        .iter()
        .filter(|p| !allowed(&expression(p), &licences))
        .map(|p| format!("{} {}", p["name"], expression(p)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    for licence in &licences {
        assert!(packages.iter().any(|p| expression(p).contains(licence)), "nobody needs {licence}");
    }
}

#[test]
fn expressions_are_read_as_they_are_meant() {
    let licences = BTreeSet::from(["MIT", "Apache-2.0"]);
    for yes in
        ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR X) AND Apache-2.0", "X AND Y OR MIT", "X WITH y OR MIT"]
    {
        assert!(allowed(yes, &licences), "{yes}");
    }
    for no in ["", "GPL-3.0", "MIT AND X", "(MIT OR X) AND Y", "Apache-2.0 WITH LLVM-exception", "MIT)", "none"] {
        assert!(!allowed(no, &licences), "{no}");
    }
}

#[test]
fn no_banned_crate_and_one_source() {
    let deny = deny();
    let packages = packages();
    for ban in deny["bans"]["deny"].as_array().expect("a list") {
        assert!(packages.iter().all(|p| p["name"] != *ban["crate"].as_str().expect("text")), "{ban}");
    }
    let sources: BTreeSet<_> = packages.iter().filter_map(|p| p["source"].as_str()).collect();
    assert!(sources.len() == 1 && sources.iter().all(|s| s.starts_with("registry+")), "{sources:?}");
    let stars = |p: &Value| {
        let all = p["dependencies"].as_array().expect("a list").iter();
        all.filter(|d| d["req"] == "*" && d["path"].is_null()).count()
    };
    assert!(packages.iter().filter(|p| p["source"].is_null()).all(|p| stars(p) == 0), "a wildcard version");
}
