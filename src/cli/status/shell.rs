//! What `vmclaude status` says of shells: hooks, shim, PATH, the claude that each shell would run, the second barrier.

use crate::cli::enroll::{missing_hook, missing_lines};
use crate::cli::route;
use crate::enrollment::{barrier, shown, store};
use crate::files::quoted;
use crate::hook::{self, claude::Registered};
use crate::host::Host;
use crate::report::status::{InShell, Problem, Runs, Shell};
use crate::session::ask_shell::{self, Means};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use vmclaude_shim::registry::FILE;

/// How an answer begins that is an alias.
const ALIAS: &str = "alias ";

/// Looks at the hooks, the shim, PATH, each shell and the second barrier. `elsewhere`: what is first on PATH is a shim that was set up with other
/// directories ([`meant`]). `known`: the last answer; as long as hooks and PATH
/// are as they were then, no shell is started again.
pub(super) fn look(
    host: &Host,
    (runs, elsewhere): (Runs, bool),
    known: Option<&Shell>,
    problems: &mut Vec<Problem>,
) -> Shell {
    let installed = are_installed(host, problems);
    let on_path = on_path(host);
    let shim_first = on_path.as_deref() == Some(&host.dirs.state.join("shims/claude")) || elsewhere;
    if let Some(next) = missing_hook(host) {
        let what = "your shell does not load the hook".to_owned();
        problems.push(Problem { what, because: Vec::new(), next: Some(next) });
    } else if runs == Runs::Vm && !shim_first {
        let what = "claude, as programs find it, is not the one of vmclaude".to_owned();
        let because =
            vec![on_path.as_deref().map_or_else(
                || "there is none on PATH".to_owned(),
                |found| format!("{} is first on PATH", shown(found)),
            )];
        problems.push(Problem { what, because, next: Some("exec \"$SHELL\"   # or a new terminal".to_owned()) });
    }
    let same = known.filter(|k| (k.installed, k.shim_first, &k.on_path) == (installed, shim_first, &on_path));
    let shells = same.map_or_else(|| every_shell(host), |known| known.shells.clone());
    // A shim that was set up with other directories is one all the same.
    let shims = [Some(host.dirs.state.join("shims/claude")), on_path.clone().filter(|_| elsewhere)];
    let is_shim = |file: &str| shims.iter().flatten().any(|shim| shown(shim) == file);
    problems.extend(shells.iter().filter_map(|shell| other_meaning(host, shell, is_shim)));
    Shell { installed, on_path, shim_first, shells, guard: second_barrier(host, problems) }
}

/// Whether the hooks and the shim are those of this vmclaude.
fn are_installed(host: &Host, problems: &mut Vec<Problem>) -> bool {
    // With a registry that cannot be read, nothing is installed anew either.
    let files = store::read(&host.dirs.state).and_then(|entries| store::files(host, &entries));
    let wrong = match &files {
        Ok(files) => files.iter().find(|file| !file.is_current()).map(|file| shown(&file.path)),
        Err(failure) => Some(failure.what.clone()),
    };
    if let Some(why) = &wrong {
        let what = "the shell hooks are not those of this vmclaude".to_owned();
        let because = vec![format!("{why} is missing, old or not yours")];
        problems.push(match files {
            Ok(_) => Problem { what, because, next: Some("vmclaude hook --install".to_owned()) },
            Err(failure) => super::problem(failure),
        });
    }
    wrong.is_none()
}

/// The host as the `claude` on PATH knows it, where that was set up with other directories: it goes by the file that it is, so it finds
/// what is enrolled also for somebody who has changed `HOME`, and the answer must be what it does. For the decision alone: PATH may lead
/// anywhere, and settings can name programs.
pub(super) fn meant(host: &Host) -> Option<Host> {
    let shim = on_path(host)?;
    let state = shim.parent().filter(|dir| dir.file_name() == Some("shims".as_ref()))?.parent()?;
    let same = std::fs::canonicalize(state).ok() == std::fs::canonicalize(&host.dirs.state).ok();
    let other = (!same && state.join(FILE).exists()).then(|| route::at(host, Some(state)))?;
    Some(other)
}

/// That everything else looks elsewhere.
pub(super) fn elsewhere(host: &Host, meant: &Host) -> Problem {
    let (here, there) = (&host.dirs, &meant.dirs);
    let home = there.guest_home.parent().filter(|_| here.guest_home != there.guest_home);
    let (name, value) = home.map_or_else(|| ("XDG_STATE_HOME", there.state.parent()), |home| ("HOME", Some(home)));
    Problem {
        what: format!("{name} is not what it was when vmclaude was set up"),
        because: vec![format!(
            "claude goes by {}; everything else here, and all other verbs, by {}",
            shown(&there.state),
            shown(&here.state)
        )],
        next: value.map(|value| format!("export {name}={}", quoted(value))),
    }
}

/// The `claude` that a program without a shell finds.
fn on_path(host: &Host) -> Option<PathBuf> {
    let path = host.env.get(std::ffi::OsStr::new("PATH"))?;
    let runs = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|dir| dir.join("claude")).find(runs)
}

/// What is wrong in a shell where the word means something of the user's own, or the host's file.
fn other_meaning(host: &Host, shell: &InShell, is_shim: impl Fn(&str) -> bool) -> Option<Problem> {
    let name = shell.name;
    let taken_out = || format!("take it out of the start files of {name}, then: exec {name}");
    let (other, next) = match shell.claude.as_str() {
        "function" => ("it is a function of your own".to_owned(), taken_out()),
        words if words.starts_with(ALIAS) => (format!("it is the {words}"), taken_out()),
        file if file.starts_with('/') && !is_shim(file) => {
            let kind = hook::Shell::ALL.into_iter().find(|shell| shell.name() == name);
            let lines = kind.and_then(|shell| missing_lines(host, shell));
            (format!("it is the file {file}"), lines.unwrap_or_else(|| format!("{name} -ic 'type -a claude'")))
        }
        _ => return None,
    };
    let what = format!("in {name}, claude does not mean the one of vmclaude");
    Some(Problem { what, because: vec![other], next: Some(next) })
}

/// What each shell of this machine makes of the word, started as a terminal would start it.
fn every_shell(host: &Host) -> Vec<InShell> {
    let told = |(shell, means): (crate::hook::Shell, Means)| InShell {
        name: shell.name(),
        claude: match means {
            Means::Ours => "vmclaude".to_owned(),
            Means::Alias(words) => format!("{ALIAS}{words}"),
            Means::Flags(words) => format!("vmclaude ({ALIAS}{words})"),
            Means::Function => "function".to_owned(),
            Means::File(path) => path,
            Means::Nothing => "none".to_owned(),
            Means::Unknown => "unknown".to_owned(),
        },
    };
    ask_shell::all(host).into_iter().map(told).collect()
}

/// Whether the host's Claude Code asks `vmclaude guard`.
fn second_barrier(host: &Host, problems: &mut Vec<Problem>) -> bool {
    let registered = barrier::registered(host);
    if registered == Registered::Otherwise {
        let what = "the host's Claude Code asks another vmclaude, or not always".to_owned();
        let because = vec![format!("its hook in {} is old or was changed", shown(&barrier::file(host)))];
        problems.push(Problem { what, because, next: Some("vmclaude guard --install".to_owned()) });
    }
    registered == Registered::Yes
}
