//! `system …`, `image inspect`, `build`.

use crate::cli::Parsed;
use crate::state::State;
use crate::{fail, print, say};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::BufRead;
use std::path::Path;
use std::process::ExitCode;

/// The error of every command while the service does not run.
pub(crate) fn down(state: &State) -> Option<ExitCode> {
    let hint = "Ensure container system service has been started with `container system start`.";
    let cause = "(cause: \"XPC connection error: Connection invalid\")";
    (!state.double().running).then(|| {
        say(&format!("Error: interrupted: \"XPC connection error\" {cause}\n{hint}"));
        ExitCode::from(1)
    })
}

fn long(version: &str) -> String {
    format!("container-apiserver version {version} (build: release, commit: 1234abc)")
}

pub(crate) fn version(state: &State) -> ExitCode {
    let double = state.double();
    let mut all =
        vec![json!({ "appName": "container", "buildType": "release", "commit": "1234abc", "version": double.client })];
    if double.running {
        let version = long(&double.server);
        all.push(json!({ "appName": "container-apiserver", "buildType": "release", "commit": "1234abc", "version": version }));
    }
    print(&serde_json::to_string(&all).expect("JSON"));
    ExitCode::SUCCESS
}

/// In the shape of its version: 1.4 moved all but the status below other names.
pub(crate) fn status(state: &State) -> ExitCode {
    let double = state.double();
    let status = if double.running { "running" } else { "unregistered" };
    let text = |text: &str| if double.running { text.to_owned() } else { String::new() };
    let answer = match double.client.starts_with("1.4") {
        true => {
            json!({ "status": status, "client": { "version": double.client }, "server": {}, "host": "mac", "paths": {}, "resources": {} })
        }
        false => json!({
            "apiServerAppName": text("container-apiserver"), "apiServerBuild": text("release"), "apiServerCommit": text("1234abc"),
            "apiServerVersion": text(&long(&double.server)), "appRoot": text("/r/"), "installRoot": text("/usr/local/"), "status": status,
        }),
    };
    print(&serde_json::to_string(&answer).expect("JSON").replace('/', "\\/"));
    ExitCode::from(u8::from(!double.running))
}

pub(crate) fn start(state: &State, words: &Parsed) -> ExitCode {
    let mut double = state.double();
    double.running = double.starts;
    state.set_double(&double);
    if !double.kernel && !words.has("enable-kernel-install") && !words.has("disable-kernel-install") {
        print("Install the recommended default kernel from [https://example.org/kernel.tar]? [Y/n]: ");
        let mut line = String::new();
        if !std::io::stdin().lock().read_line(&mut line).is_ok_and(|n| n > 0) {
            return fail(("internalError", "failed to read user input".into()));
        }
        double.kernel = !line.trim().eq_ignore_ascii_case("n");
    }
    double.kernel |= words.has("enable-kernel-install");
    state.set_double(&double);
    ExitCode::SUCCESS
}

/// Ends every container's helper, as a restarted service does.
pub(crate) fn stop(state: &State) -> ExitCode {
    for name in state.names() {
        let pid = fs::read_to_string(state.container(&name).join("pid")).ok().and_then(|p| p.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGUSR1);
        }
    }
    state.set_double(&crate::state::Double { running: false, ..state.double() });
    ExitCode::SUCCESS
}

pub(crate) fn image_inspect(state: &State, words: &Parsed) -> ExitCode {
    if let Some(down) = down(state) {
        return down;
    }
    let images = state.images();
    let mut all = Vec::new();
    for reference in &words.positionals {
        match images.get(reference) {
            Some(image) => all.push(image.clone()),
            None => return fail(("notFound", format!("image not found: {reference}"))),
        }
    }
    print(&serde_json::to_string_pretty(&all).expect("JSON").replace('/', "\\/"));
    ExitCode::SUCCESS
}

/// Checks what the real one checks before it builds, notes whether the builder would have been started anew, and makes an
/// image with the labels that were asked for.
pub(crate) fn build(state: &State, words: &Parsed) -> ExitCode {
    let text = match containerfile(words) {
        Ok(text) => text,
        Err(code) => return code,
    };
    if let Some(down) = down(state) {
        return down;
    }
    let fetched = fetch(state, words);
    let reference = words.value("tag").unwrap_or("none").to_owned();
    let args = words.values("build-arg");
    let digest = format!("sha256:{:x}", Sha256::digest(format!("{text}{args:?}")));
    let labels: Value = words
        .values("label")
        .iter()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.into()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let arch = words.value("arch").unwrap_or("arm64");
    state.add_image(&reference, &image(&reference, &digest, arch, &labels));
    say("#1 [internal] load build definition from Containerfile");
    match fetched {
        None => say("#9 CACHED"),
        Some(version) => say(&format!("#9 4.2 vmclaude-claude={version}=")),
    }
    print(&reference);
    ExitCode::SUCCESS
}

/// What is to be built, once it and whatever it copies is there.
fn containerfile(words: &Parsed) -> Result<String, ExitCode> {
    let usage = |message: String| {
        say(&format!("Error: {message}"));
        ExitCode::from(64)
    };
    let context = words.positionals.first().map_or(".", String::as_str);
    if !Path::new(context).is_dir() {
        return Err(usage(format!("context dir does not exist {context}")));
    }
    let file = words.value("file").map_or_else(|| Path::new(context).join("Dockerfile"), Into::into);
    let text = fs::read_to_string(&file).map_err(|_| usage(format!("{} does not exist", file.display())))?;
    if text.len() >= 16 << 10 {
        return Err(fail(("internalError", "the Dockerfile is too large".into())));
    }
    for line in text.lines().filter_map(|l| l.strip_prefix("COPY ")).filter(|l| !l.starts_with("--from")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(missing) = words[..words.len() - 1].iter().find(|w| !Path::new(context).join(w).exists()) {
            return Err(fail(("internalError", format!("failed to compute cache key: {missing} not found"))));
        }
    }
    Ok(text)
}

/// The version that a build fetches, `None` when the builder has it: words that were said before are answered from its cache, and
/// the latest is another one each time that it is fetched.
#[allow(clippy::disallowed_methods)] // Host is for the program under test
fn fetch(state: &State, words: &Parsed) -> Option<String> {
    let colours = ["NO_COLOR", "BUILDKIT_COLORS"].map(|n| std::env::var(n).ok());
    let settings = json!({ "cpus": words.value("cpus"), "memory": words.value("memory"), "colours": colours, "dns": words.values("dns") });
    let old: Value = fs::read(state.builder()).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or_default();
    let restarts = old["restarts"].as_u64().unwrap_or(0) + u64::from(!old.is_null() && old["settings"] != settings);
    let asked =
        ["CLAUDE=", "ANEW="].map(|name| words.values("build-arg").into_iter().find(|arg| arg.starts_with(name)));
    let mut fetched: Vec<Value> = old["fetched"].as_array().cloned().unwrap_or_default();
    let is_cached = fetched.contains(&json!(asked));
    if !is_cached {
        fetched.push(json!(asked));
    }
    let version = match asked[0].and_then(|claude| claude.rsplit_once('@')) {
        Some((_, "latest")) | None => format!("2.1.{}", 400 + fetched.len()),
        Some((_, version)) => version.to_owned(),
    };
    let kept = json!({ "settings": settings, "restarts": restarts, "fetched": fetched });
    let _ = fs::write(state.builder(), serde_json::to_vec(&kept).expect("JSON"));
    (!is_cached).then_some(version)
}

/// An image as `image inspect` shows it.
fn image(reference: &str, digest: &str, arch: &str, labels: &Value) -> Value {
    json!({
        "id": digest.trim_start_matches("sha256:"),
        "configuration": { "name": reference, "creationDate": crate::state::now(),
            "descriptor": { "digest": digest, "mediaType": "application/vnd.oci.image.index.v1+json", "size": 1000 } },
        "variants": [{ "platform": { "architecture": arch, "os": "linux" }, "digest": digest, "size": 1000,
            "config": { "architecture": arch, "os": "linux", "config": { "Labels": labels, "Entrypoint": ["/sbin/vmclaude-init"] } } }],
    })
}
