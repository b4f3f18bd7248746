//! `vmclaude host`: the one deliberate way to run the host's claude in an enrolled tree.

use crate::cli::args::HostArgs;
use crate::cli::guard::ON_PURPOSE;
use crate::enrollment::{only_a_person, refused, shown, verdict};
use crate::error::{Context, Failure, Result};
use crate::exit::{Exit, LOOP, NOT_EXECUTABLE, NOT_FOUND};
use crate::host::Host;
use crate::report;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use vmclaude_shim::exec::{DEPTH, Guard, TRIED, exec, with_env};
use vmclaude_shim::find::{Search, find_host_claude};
use vmclaude_shim::{Registry, Verdict};

/// Runs the host's claude, after asking where that leaves the VM.
///
/// # Errors
/// When Claude asks for it, nobody can be asked, or there is no claude on the host.
pub(super) fn run(host: &Host, words: &HostArgs) -> Result<Exit> {
    only_a_person(host, "host")?;
    match verdict(host)? {
        Verdict::Host { .. } => {}
        Verdict::Vm(tree) => {
            confirm(host, &format!("{} is enrolled", shown(&tree.root)))?;
            // The second barrier lets pass what a person has just asked for.
            let mut host = host.clone();
            host.env.insert(ON_PURPOSE.into(), tree.root.into_os_string());
            return become_host(&host, &words.args);
        }
        Verdict::Refuse(refusal) => confirm(host, &refusal.words().because)?,
    }
    become_host(host, &words.args)
}

fn confirm(host: &Host, why: &str) -> Result<()> {
    if !host.can_ask() {
        return Err(Failure::refused("refusing to run claude on the host")
            .because(format!("{why}, and there is no terminal to ask on"))
            .next("vmclaude host, typed in a terminal"));
    }
    if report::agreed(&format!("{why}. Run claude on the host, with everything of yours in reach?"), false)? {
        return Ok(());
    }
    Err(Failure::refused("claude did not run").because("you did not say yes").next("claude (in the VM)"))
}

/// Becomes the host's claude; returns only a failure.
///
/// # Errors
/// When there is none, or it cannot be executed.
pub(super) fn become_host(host: &Host, args: &[OsString]) -> Result<Exit> {
    let registry = Registry::read(&host.dirs.state).map_err(refused)?;
    let bytes: Vec<&[u8]> = args.iter().map(|a| a.as_bytes()).collect();
    let var = |name: &str| host.env.get(OsStr::new(name)).map(OsString::as_os_str);
    if let Some(refusal) = vmclaude_shim::add_dir::refused(registry.as_ref(), var("HOME"), &bytes) {
        return Err(refused(refusal));
    }
    let guard = Guard::read(std::process::id(), var(TRIED).map(OsStr::as_bytes), var(DEPTH).map(OsStr::as_bytes));
    let search = Search { path: var("PATH"), home: var("HOME"), state: &host.dirs.state, registry: registry.as_ref() };
    let Some((file, id)) = find_host_claude(&search, &guard.tried).filter(|_| !guard.is_too_deep()) else {
        return Err(no_claude(&guard));
    };
    let argv = c_strings(std::iter::once(OsStr::new("claude")).chain(args.iter().map(OsString::as_os_str)))?;
    let vars: Vec<OsString> =
        host.env.iter().map(|(name, value)| [name, OsStr::new("="), value].into_iter().collect()).collect();
    let env = c_strings(vars.iter().map(OsString::as_os_str))?;
    let env = with_env(&borrowed(&env), &guard.next(id)).what(|| "cannot set the environment")?;
    // SAFETY: SIGPIPE exists and SIG_DFL is a disposition. Rust's runtime has ignored it, which a program inherits.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let error = exec(&file, &borrowed(&argv), &borrowed(&env));
    Err(Failure::new(format!("cannot execute the host's claude, {}", file.display()))
        .because(error)
        .next(format!("ls -l {}", crate::files::quoted(&file)))
        .code(NOT_EXECUTABLE))
}

fn no_claude(guard: &Guard) -> Failure {
    if !guard.tried.is_empty() || guard.is_too_deep() {
        return Failure::new("cannot find the host's claude")
            .because("each one that was found only looks for claude on PATH again")
            .next("type -a claude")
            .code(LOOP);
    }
    Failure::new("there is no claude on this host")
        .because(
            "it is neither on PATH nor in the usual places (relative entries and enrolled directories do not count)",
        )
        .next("curl -fsSL https://claude.ai/install.sh | bash")
        .code(NOT_FOUND)
}

fn c_strings<'a>(words: impl Iterator<Item = &'a OsStr>) -> Result<Vec<CString>> {
    words.map(|w| CString::new(w.to_os_string().into_vec()).what(|| "cannot pass on a word with a zero byte")).collect()
}

fn borrowed(words: &[CString]) -> Vec<&CStr> {
    words.iter().map(CString::as_c_str).collect()
}
