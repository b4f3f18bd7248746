//! What `--dry-run` prints: the very values that a run would use. Values of variables are never among them.

use crate::engine::apple::{Container, Place};
use crate::engine::launch::{FIRST_FD, Launch, Program, Qemu, Source};
use crate::files::quoted;
use crate::plan::Plan;
use crate::screen::Clipboard;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

/// The plan and every process, as text.
pub fn text(plan: &Plan, launch: &Launch) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<9}{value}");
    };
    line("run", words(plan.argv.iter().map(AsRef::as_ref)));
    line("in", plan.cwd.display().to_string());
    line("as", format!("claude ({}:{})", plan.user.uid, plan.user.gid));
    for m in &plan.mounts {
        line("mount", format!("{} {} -> {}", if m.writable { "rw" } else { "ro" }, quoted(&m.host), m.guest.display()));
    }
    if !plan.protected.is_empty() {
        let paths = plan.protected.iter().map(|p| quoted(&Path::new(&p.tag).join(&p.path)));
        line("protect", paths.collect::<Vec<_>>().join(" "));
    }
    if let Some(local) = &plan.local {
        let on = local.volume.as_ref().map_or_else(|| "the scratch disk".to_owned(), |volume| quoted(volume));
        line("local", format!("{} on {on}", crate::plan::volumes::listed(&local.dirs)));
    }
    for (from, to) in &plan.links {
        line("link", format!("{} -> {}", quoted(from), to.display()));
    }
    for (path, _) in plan.setup.system.iter().chain(&plan.setup.seeds) {
        line("file", path.display().to_string());
    }
    for path in &plan.setup.own {
        line("memory", path.display().to_string());
    }
    let names: Vec<_> = plan.env.iter().map(|(name, _)| name.to_string_lossy()).collect();
    line("env", names.join(" "));
    let cpus = plan.limits.cpus.map_or_else(|| "as many cpus as suit".to_owned(), |n| format!("{n} cpus"));
    if let Some(api) = &plan.setup.api {
        line("key", format!("held here, for {api}"));
    }
    if let Some(agent) = &plan.setup.agent {
        line("agent", quoted(agent));
    }
    line("limits", format!("{cpus}, {} MiB", plan.limits.memory));
    line("network", plan.network.to_string());
    for forward in &plan.ports {
        line("port", forward.to_string());
    }
    let clipboard = match plan.clipboard {
        Clipboard::Deny => "clipboard neither read nor written",
        Clipboard::Allow => "clipboard written by the guest, never read",
    };
    line("screen", clipboard.to_owned());
    match launch {
        Launch::Qemu(launch) => qemu(&mut out, launch),
        Launch::Apple(container) => apple(&mut out, plan, container),
    }
    out
}

/// With the name of a session and its directory left open: both are made when it runs.
fn apple(out: &mut String, plan: &Plan, container: &Container) {
    let place = Place { id: "SESSION".into(), dir: "/SESSION".into() };
    out.push('\n');
    match crate::engine::apple::run(container, plan, &place) {
        Ok(run) => {
            for (link, to) in &run.links {
                let _ = writeln!(out, "{} is a link to {}", quoted(link), quoted(to));
            }
            process(out, &run.program);
        }
        Err(failure) => out.push_str(&format!("{failure}\n")),
    }
}

fn qemu(out: &mut String, launch: &Qemu) {
    for program in launch.share.iter().chain([&launch.machine]) {
        out.push('\n');
        process(out, program);
    }
    if let Some(warm) = &launch.warm {
        let _ = writeln!(out, "\nor, while there is {}:", quoted(&warm.template));
        process(out, &warm.machine);
    }
}

fn process(out: &mut String, program: &Program) {
    out.push_str(&quoted(&program.path));
    for arg in &program.args {
        // One line per option is easier to compare than one line in all.
        out.push_str(if arg.as_encoded_bytes().starts_with(b"-") { " \\\n  " } else { " " });
        out.push_str(&quoted(Path::new(arg)));
    }
    out.push('\n');
    for (n, source) in (FIRST_FD..).zip(&program.fds) {
        let what = match source {
            Source::Wire => "the wire".to_owned(),
            Source::File(path) => quoted(path),
            Source::Scratch(path) => format!("a private copy of {}", quoted(path)),
            Source::Dir(path, _) => format!("the directory {}", quoted(path)),
            Source::Memory(mib) => format!("{mib} MiB of memory"),
            Source::Volume(path) => format!("the volume {}", quoted(path)),
            Source::Control => "the control connection".to_owned(),
            Source::RunDir => "the session's directory".to_owned(),
            Source::ShareListener => "the share's socket".to_owned(),
            Source::ShareEvents => "the socket for what the host changes".to_owned(),
        };
        let _ = writeln!(out, "  {n} is {what}");
    }
}

fn words<'a>(words: impl Iterator<Item = &'a OsStr>) -> String {
    words.map(|w| quoted(Path::new(w))).collect::<Vec<_>>().join(" ")
}
