//! `vmclaude enroll`: from now on, `claude` typed in this directory runs in a VM.

use crate::cli::args::Enroll;
use crate::cli::list::moved_to;
use crate::enrollment::registry::{Change, add, is_kept, keep};
use crate::enrollment::store::{Store, install};
use crate::enrollment::{barrier, canonical, refuse, shown};
use crate::error::{Context, Failure, Result};
use crate::exit::Exit;
use crate::files::quoted;
use crate::git;
use crate::hook::{self, Shell};
use crate::host::Host;
use crate::plan::state::Home;
use crate::report;
use crate::session::ask_shell;
use crate::state::{self, import};
use std::path::{Path, PathBuf};
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::registry::Entry;
use vmclaude_shim::{Identity, Registry, Verdict};

/// Enrolls a directory and installs the shim and the hooks.
///
/// # Errors
/// When the directory must not be shown to a VM, the registry cannot be trusted, or a file cannot be written.
pub(super) fn run(host: &Host, words: &Enroll) -> Result<Exit> {
    let typed = canonical(words.dir.as_deref(), host)?;
    refuse::check(&typed, host)?;
    let Some(dir) = chosen(host, typed, words.here)? else { return Ok(Exit::OK) };
    let mut store = Store::open(host)?;
    if store.was_lost {
        report::note("the list of enrolled directories was missing: enroll the others again as well");
    }
    let identity = Identity::of(&dir).what(|| format!("cannot look at {}", shown(&dir)))?;
    let change = add(&mut store.entries, &dir, identity, |path| path.symlink_metadata().is_err());
    let before = keep_before(host, &mut store.entries, &change);
    install(host, &store.entries)?;
    store.save()?;
    tell(host, &dir, &change);
    before.iter().for_each(|line| report::note(line));
    pin_git(host, &dir)?;
    // Before the guard, which makes settings where there were none.
    if store.entries.len() == 1 && change == Change::Added && host.can_ask() {
        offer_own(host)?;
    }
    offer_guard(host)?;
    Ok(Exit::OK)
}

/// The directory that was enrolled at this path before stays enrolled where it is now: nobody has taken that word back. What
/// to say of it.
fn keep_before(host: &Host, entries: &mut Vec<Entry>, change: &Change) -> Option<String> {
    let Change::Replaced(old) = change else { return None };
    if is_kept(entries, old) {
        return None;
    }
    if let Some(now) = moved_to(old, host).filter(|now| keep(entries, old, now)) {
        return Some(format!("the one that was enrolled before is {}, and stays enrolled", shown(&now)));
    }
    Some(
        "the one that was enrolled before is not enrolled any more: if you have moved it, claude runs on the host there\n  \
         until you enroll it again"
            .to_owned(),
    )
}

/// Remembers where a linked worktree's or submodule's git directory is: the guest can write the pointer to it.
fn pin_git(host: &Host, dir: &Path) -> Result<()> {
    match git::outside(host, dir) {
        Ok(outside) => {
            if let Some(outside) = &outside {
                report::note(&format!("  its git       {}, read and write", shown(&outside.dir)));
            }
            let project = state::of(host, dir, Home::default())?.project;
            git::pin(&project, outside.as_ref())
        }
        Err(why) => {
            report::note(&format!("git will not work in the VM: {}", why.escape_debug()));
            Ok(())
        }
    }
}

/// On the first enrollment: what the user has for Claude on the host, for every VM.
fn offer_own(host: &Host) -> Result<()> {
    let Some(found) = import::found(host) else { return Ok(()) };
    let to = host.dirs.guest_home.join("shared");
    let names = found.names.join(", ");
    report::note(&format!("VMs read what is in {}, and there is nothing yet", shown(&to)));
    let question = format!("Copy {names} from {}, without hooks and secrets?", shown(&found.from));
    if !report::agreed(&question, true)? {
        return Ok(());
    }
    let copied = found.copy(host)?;
    report::note(&format!("copied {} file{}", copied.files, if copied.files == 1 { "" } else { "s" }));
    if !copied.settings.is_empty() {
        report::note(&format!("  settings left out: {}", copied.settings.join(", ").escape_debug()));
    }
    for path in copied.skipped.iter().take(8) {
        report::note(&format!("  left out: {}", shown(path)));
    }
    Ok(())
}

/// The directory to enroll: what was typed, or the root of the repository around it; `None` when there is nothing to do.
fn chosen(host: &Host, typed: PathBuf, here: bool) -> Result<Option<PathBuf>> {
    let registry = Registry::read(&host.dirs.state).ok().flatten();
    let known = registry.map(|registry| in_tree(&registry, &Chain::of(typed.clone())));
    if let Some(Verdict::Vm(tree)) = known
        && !here
    {
        if tree.rest.as_os_str().is_empty() {
            return Ok(Some(typed));
        }
        report::note(&format!("{} lies in {}, which is enrolled already", shown(&typed), shown(&tree.root)));
        return Ok(None);
    }
    let Some(root) = repository(&typed).filter(|root| refuse::check(root, host).is_ok()) else {
        return Ok(Some(typed));
    };
    if here {
        report::note(&format!("the VM will not see {}: no .git, and no CLAUDE.md from above", shown(&root)));
        return Ok(Some(typed));
    }
    propose(host, typed, root).map(Some)
}

fn propose(host: &Host, typed: PathBuf, root: PathBuf) -> Result<PathBuf> {
    let why =
        format!("it lies in the repository {}; alone, the VM sees neither .git nor CLAUDE.md from above", shown(&root));
    if host.can_ask() {
        let question = format!("{}: {why}\nEnroll {} instead?", shown(&typed), shown(&root));
        return Ok(if report::agreed(&question, true)? { root } else { typed });
    }
    Err(Failure::usage(format!("{} is not the root of its repository", shown(&typed))).because(why).next(format!(
        "vmclaude enroll {}, or vmclaude enroll --here {}",
        quoted(&root),
        quoted(&typed)
    )))
}

/// The root of the repository that `dir` lies in, when `dir` itself is not one.
fn repository(dir: &Path) -> Option<PathBuf> {
    let root = dir.ancestors().find(|up| up.join(".git").symlink_metadata().is_ok())?;
    (root != dir).then(|| root.to_path_buf())
}

fn tell(host: &Host, dir: &Path, change: &Change) {
    let dir = shown(dir);
    report::note(&match change {
        Change::Added => format!("enrolled {dir}"),
        Change::Same => format!("{dir} was enrolled already"),
        Change::Replaced(_) => format!("enrolled {dir} anew: it is not the directory that was enrolled before"),
        Change::Moved(old) => format!("enrolled {dir}, which was {} before", shown(old)),
    });
    if *change != Change::Same {
        report::note("there and below, claude runs in a throw-away VM that sees:");
        report::note(&format!("  /workspace    {dir}, read and write"));
        report::note(&format!("  its home      in {}, for this project alone", shown(&host.dirs.guest_home)));
        report::note("  nothing else of this machine: no other file, no key, no local network");
    }
    if let Some(line) = missing_hook(host) {
        report::note(&format!(
            "your shell does not load the hook yet; type this once and open a new terminal:\n  {line}"
        ));
    }
}

/// Asks once, and only a person, whether Claude Code itself is to look too.
fn offer_guard(host: &Host) -> Result<()> {
    if !(host.can_ask() && barrier::is_open(host)) {
        return Ok(());
    }
    let file = shown(&barrier::file(host));
    let question = format!(
        "An absolute path, npx or an editor can still start the host's Claude Code here.\n\
         Have it look for itself, by a hook in {file}?"
    );
    if !report::agreed(&question, true)? {
        report::note("not asked again (vmclaude guard --install)");
        return barrier::decline(host);
    }
    match barrier::install(host) {
        Ok(_) => report::note("it does now (vmclaude guard --remove takes it out again)"),
        // The directory is enrolled all the same.
        Err(e) => report::failure(&e),
    }
    Ok(())
}

/// What to type so that the user's shell loads its hook; `None` when it does, or when we do not know that shell.
pub(super) fn missing_hook(host: &Host) -> Option<String> {
    let name = Path::new(host.var("SHELL")?).file_name()?.to_str()?;
    missing_lines(host, Shell::ALL.into_iter().find(|s| s.name() == name)?)
}

/// What to type so that this shell loads its hook; `None` when its start file does.
pub(super) fn missing_lines(host: &Host, shell: Shell) -> Option<String> {
    let dir = |var: &str, default: &str| host.var(var).map_or_else(|| host.home.join(default), PathBuf::from);
    let start = match shell {
        Shell::Zsh => ask_shell::zsh_dir(host).unwrap_or_else(|| dir("ZDOTDIR", "")).join(".zshrc"),
        Shell::Bash => host.home.join(".bashrc"),
        Shell::Fish => dir("XDG_CONFIG_HOME", ".config").join("fish/conf.d/vmclaude.fish"),
    };
    let text = std::fs::read(&start).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let hook = hook::file(&host.dirs.state, shell).to_string_lossy().into_owned();
    // As a person writes it, and as `hook --rc` does.
    if text.contains(&hook) || text.contains(&hook::quote(shell, &hook)) || text.contains("vmclaude hook") {
        return None;
    }
    let parent =
        start.parent().filter(|p| !p.exists()).map_or_else(String::new, |p| format!("mkdir -p {} && ", quoted(p)));
    Some(format!("{parent}vmclaude hook --rc {} >> {}", shell.name(), quoted(&start)))
}
