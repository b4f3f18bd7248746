//! What the values of `container run` mean: checked in the order of its source, behind the look for the image. Each error is
//! an exit of 1.

use crate::cli::{Parsed, Spec};
use std::path::{Path, PathBuf};

/// A mount of a directory, or a socket to relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) destination: String,
    pub(crate) read_only: bool,
}

/// A volume by its name, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) destination: String,
}

/// What a path on the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Socket,
    File,
}

/// A container as `create` would make it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) memory: u64,
    pub(crate) cpus: i64,
    pub(crate) directories: Vec<Mount>,
    pub(crate) sockets: Vec<Mount>,
    pub(crate) volumes: Vec<Named>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) tmpfs: Vec<String>,
}

/// An error: its code in the message, and the message.
pub(crate) type Bad = (&'static str, String);

fn bad<T>(message: impl Into<String>) -> Result<T, Bad> {
    Err(("invalidArgument", message.into()))
}

/// The name alone: looked at first of all.
pub(crate) fn name(name: &str) -> Result<(), Bad> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    match first && name.len() >= 2 && name.len() <= 63 && name.chars().all(inner) {
        true => Ok(()),
        false => bad(format!("container ID {name} is not a valid container ID")),
    }
}

/// Everything else. `kind` says what a path on the host is.
pub(crate) fn container(spec: &Spec, words: &Parsed, kind: &dyn Fn(&Path) -> Option<Kind>) -> Result<Container, Bad> {
    let mut made = Container {
        name: words.value("name").unwrap_or("00000000-0000-0000-0000-000000000000").to_owned(),
        cpus: words.value("cpus").and_then(|c| c.parse().ok()).unwrap_or(4),
        ..Container::default()
    };
    for label in words.values("label") {
        made.labels.push(self::label(label)?);
    }
    for text in words.values("mount") {
        made.directories.push(mount(text, kind)?);
    }
    for text in words.values("volume") {
        let mount = volume(text, kind)?;
        if let Some(name) = mount.source.to_str().filter(|name| !name.contains('/')) {
            made.volumes.push(Named { name: name.to_owned(), destination: mount.destination });
            continue;
        }
        match kind(&mount.source) {
            Some(Kind::Socket) => made.sockets.push(mount),
            // #2148: it shares the whole directory, and may drop another mount of that. Nobody of ours may do it.
            Some(Kind::File) => return bad(format!("vmclaude must never mount a file: {text}")),
            _ => made.directories.push(mount),
        }
    }
    let networks = words.values("network");
    if networks.contains(&"none") && networks.len() > 1 {
        return bad("no other networks may be created along with network none");
    }
    if let Some(other) = networks.iter().find(|n| **n != "none" && **n != "default") {
        return Err(("notFound", format!("network {other} not found")));
    }
    made.cap_add = capabilities(spec, &words.values("cap-add"))?;
    made.cap_drop = capabilities(spec, &words.values("cap-drop"))?;
    made.tmpfs = words.values("tmpfs").into_iter().map(str::to_owned).collect();
    for path in words.values("read-only-path") {
        if !path.starts_with('/') {
            return bad(format!("{path} is not absolute"));
        }
        made.read_only_paths.push(path.to_owned());
    }
    made.memory = memory(words.value("memory").unwrap_or("1g"))?;
    if made.memory < 200 << 20 {
        return bad(format!("minimum memory amount allowed is 200 MiB (got {} bytes)", made.memory));
    }
    one_mode(&made.directories)?;
    Ok(made)
}

/// One share serves all mounts of a source, and the last mode holds for all: nobody of ours may mix them.
fn one_mode(all: &[Mount]) -> Result<(), Bad> {
    let mixed = |m: &&Mount| all.iter().any(|o| o.source == m.source && o.read_only != m.read_only);
    match all.iter().find(mixed) {
        Some(mount) => bad(format!("vmclaude must never mix modes of one source: {}", mount.source.display())),
        None => Ok(()),
    }
}

/// Splits at `=` at most twice and leaves out what is empty.
fn label(text: &str) -> Result<(String, String), Bad> {
    if text.is_empty() {
        return bad("label cannot be an empty string");
    }
    let parts: Vec<&str> = text.splitn(3, '=').filter(|p| !p.is_empty()).collect();
    match parts[..] {
        [key] => Ok((key.to_owned(), String::new())),
        [key, value] => Ok((key.to_owned(), value.to_owned())),
        _ => bad(format!("invalid label format {text}")),
    }
}

fn capabilities(spec: &Spec, names: &[&str]) -> Result<Vec<String>, Bad> {
    let known = |name: &&str| {
        let upper = name.to_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
        match name == "ALL" || spec.capabilities.contains(&name) {
            true => Ok(name),
            false => bad(format!("unknown capability {name}")),
        }
    };
    names.iter().map(known).collect()
}

/// Memory, in whole MiB.
fn memory(text: &str) -> Result<u64, Bad> {
    size(text).map(|bytes| bytes >> 20 << 20)
}

/// A number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, Bad> {
    let text = text.trim().to_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = text[digits.len()..].trim();
    let shift = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return bad(format!("invalid memory {text}")),
    };
    match digits.parse::<f64>() {
        Ok(number) => Ok((number * (1u64 << shift) as f64) as u64),
        Err(_) => bad(format!("invalid memory {text}")),
    }
}

/// Swift's strings are made of whole characters: a separator is none when it is part of one with its neighbour.
fn split(text: &str, at: char) -> Vec<String> {
    let prepends = |c: char| matches!(c, '\u{600}'..='\u{605}' | '\u{6dd}' | '\u{70f}' | '\u{8e2}' | '\u{110bd}');
    let extends =
        |c: char| matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{20d0}'..='\u{20f0}');
    let mut parts = vec![String::new()];
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let joined = before.is_some_and(prepends) || rest.peek().copied().is_some_and(extends);
        match c == at && !joined {
            true => parts.push(String::new()),
            false => parts.last_mut().expect("never empty").push(c),
        }
        before = Some(c);
    }
    parts
}

/// `-v [source:]destination[:options]`, empty parts left out.
fn volume(text: &str, kind: &dyn Fn(&Path) -> Option<Kind>) -> Result<Mount, Bad> {
    let parts: Vec<String> = split(text, ':').into_iter().filter(|p| !p.is_empty()).collect();
    let (source, destination, options) = match &parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, options] => (source, destination, options.as_str()),
        [_] => return bad(format!("vmclaude must never make an anonymous volume: {text}")),
        _ => return bad(format!("invalid volume format {text}")),
    };
    if !source.contains('/') {
        // Without options: one is writable.
        return match (source.as_str(), options) {
            ("." | "..", _) => bad(format!("vmclaude must never mount where somebody happens to be: {text}")),
            (_, "") => Ok(Mount { source: source.into(), destination: destination.clone(), read_only: false }),
            _ => bad(format!("vmclaude must never mount a volume with options: {text}")),
        };
    }
    if kind(Path::new(source)).is_none() {
        return bad(format!("path '{source}' does not exist"));
    }
    let read_only = options.split(',').any(|o| o == "ro");
    Ok(Mount { source: source.into(), destination: destination.clone(), read_only })
}

/// `--mount type=bind,source=…,target=…[,readonly]`.
fn mount(text: &str, kind: &dyn Fn(&Path) -> Option<Kind>) -> Result<Mount, Bad> {
    let (mut source, mut destination, mut read_only) = (String::new(), String::new(), false);
    for directive in split(text, ',').into_iter().filter(|d| !d.is_empty()) {
        let parts = split(&directive, '=');
        let value = match &parts[..] {
            [_] => None,
            [_, value] if !value.is_empty() => Some(value.clone()),
            _ => return bad("invalid directive format missing value"),
        };
        match (parts[0].as_str(), value) {
            ("type", Some(kind)) if ["bind", "virtiofs"].contains(&kind.as_str()) => {}
            ("source" | "src", Some(value)) => source = value,
            ("destination" | "dst" | "target", Some(value)) => destination = value,
            ("readonly" | "ro", _) => read_only = true,
            (key, _) => return bad(format!("unknown directive {key} when parsing mount {text}")),
        }
    }
    match (kind(Path::new(&source)), destination.is_empty()) {
        (None, _) => bad(format!("path '{source}' does not exist")),
        (Some(Kind::File | Kind::Socket), _) => bad(format!("path '{source}' is not a directory")),
        (_, true) => bad("mount destination cannot be empty"),
        _ => Ok(Mount { source: source.into(), destination, read_only }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Words;

    fn made(words: &[&str]) -> Result<Container, Bad> {
        let spec = Spec::load();
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let Words::Run(parsed) = spec.parse(&words) else { panic!("{words:?}") };
        container(&spec, &parsed, &|path| match path.to_str() {
            Some("/missing") => None,
            Some("/s.sock") => Some(Kind::Socket),
            Some("/file") => Some(Kind::File),
            _ => Some(Kind::Directory),
        })
    }

    #[test]
    fn values_mean_what_they_mean_to_the_real_one() {
        let all =
            made(&["run", "-v", "/a,b=c:/w:ro", "-v", "/s.sock:/run/s", "-m", "4096M", "--cap-add", "cap_bpf", "i"]);
        let all = all.expect("a container");
        assert_eq!((all.memory >> 20, all.cap_add, all.sockets.len()), (4096, vec!["BPF".to_owned()], 1));
        assert_eq!(all.directories, [Mount { source: "/a,b=c".into(), destination: "/w".into(), read_only: true }]);
        let named = made(&["run", "-v", "data-1:/w", "i"]).expect("a container").volumes;
        assert_eq!(named, [Named { name: "data-1".into(), destination: "/w".into() }], "and no directory ./data-1");
        let mount = made(&["run", "--mount", "type=bind,source=/a:b,target=/w,readonly=false", "i"]).expect("a mount");
        assert!(mount.directories[0].read_only, "whatever its value says");
        assert_eq!(label("a=b="), Ok(("a".into(), "b".into())));
    }

    #[test]
    fn what_the_real_one_refuses_is_refused_and_what_ours_must_not_do_too() {
        for words in [
            &["-v", "/missing:/w"][..],
            &["-v", "/a:b:/w:ro"],
            &["-v", "name:/w:ro"],
            &["-v", ".:/w"],
            &["-v", "/only"],
            &["-v", "/file:/w"],
            &["-v", "/x\u{600}:/w"],
            &["--mount", "source=/a,b,target=/w"],
            &["--mount", "source=/a=b,target=/w"],
            &["--mount", "source=/a,target=/w,rw"],
            &["--mount", "source=/file,target=/w"],
            &["--mount", "source=/a"],
            &["--label", "a=b=c"],
            &["--label", ""],
            &["--cap-add", "FLY"],
            &["-m", "100M"],
            &["-m", "much"],
            &["--network", "none", "--network", "default"],
            &["-v", "/a:/w", "-v", "/a:/v:ro"],
        ] {
            let all: Vec<&str> = ["run"].iter().chain(words).chain(&["i"]).copied().collect();
            assert!(made(&all).is_err(), "{words:?}: {:?}", made(&all));
        }
        for (text, good) in [("ab", true), ("a", false), ("-ab", false), ("a b", false), (&"x".repeat(64), false)] {
            assert_eq!(name(text).is_ok(), good, "{text}");
        }
    }
}
