//! What `claude` means in the user's shells: each is started as a terminal would start it, and asked.

use crate::hook::Shell;
use crate::host::Host;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Start files can be slow; one that waits for something is not waited for.
const LIMIT: Duration = Duration::from_secs(5);
const DIRS: [&str; 5] = ["/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/run/current-system/sw/bin"];
/// What the answer begins with, behind whatever the start files print.
const MARK: &str = "vmclaude-means:";

/// The scripts: first what the prompt does, then the question.
const ZSH: &str = r#"a=alias
(( $+functions[__vmclaude_guard] )) && { __vmclaude_guard 2>/dev/null; a=flags; }
case "$(whence -w claude)" in
  *alias) k=$a v=${aliases[claude]-${galiases[claude]-}}
    case ${functions[claude]-} in ''|*'refusing to run claude'*) ;; *) k=function v= ;; esac ;;
  *function) k=function v=${functions[claude]} ;;
  *command|*hashed) k=file v=$(whence -p claude) ;;
  *) k=nothing v= ;;
esac
print -r -- $'\n'"vmclaude-means:$k:$v""#;
const BASH: &str = r#"a=alias
declare -F __vmclaude_guard >/dev/null && { __vmclaude_guard 2>/dev/null; a=flags; }
k=$(type -t claude) v=
case $k in
  alias) k=$a v=$(alias claude)
    case $(declare -f claude) in ''|*'refusing to run claude'*) ;; *) k=function v= ;; esac ;;
  function) v=$(declare -f claude) ;;
  file) v=$(type -P claude) ;;
  *) k=nothing ;;
esac
printf '\nvmclaude-means:%s:%s\n' "$k" "$v""#;
const FISH: &str = r#"functions -q __vmclaude_guard; and __vmclaude_guard 2>/dev/null
set k nothing; set v ''
if functions -q __vmclaude_what; and test (__vmclaude_what)[1] = flags
    set k flags; set v (functions claude | string trim | string match -rv -- '^(#.*|function claude .*|end|)$' | string replace -- ' $argv' '')
else if functions -q claude
    set k function; set v (functions claude | string collect)
else if command -sq claude
    set k file; set v (command -s claude)
end
printf '\nvmclaude-means:%s:%s\n' $k "$v""#;

/// What a shell runs for the word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// The function of the hook.
    Ours,
    /// An alias, with these words.
    Alias(String),
    /// An alias that the prompt guard has let stay, with these words: it leads back to what is ours.
    Flags(String),
    /// A function of somebody else's.
    Function,
    /// A file.
    File(String),
    /// Nothing.
    Nothing,
    /// The shell did not say.
    Unknown,
}

/// Asks every shell that this machine has, all at once.
pub fn all(host: &Host) -> Vec<(Shell, Means)> {
    let here = Shell::ALL.into_iter().filter_map(|shell| Some((shell, find(shell, host)?)));
    let running: Vec<_> =
        here.map(|(shell, file)| (shell, ask(shell, &file).map(|c| std::thread::spawn(|| means(&hear(c)))))).collect();
    let answer = |(shell, thread): (Shell, Option<std::thread::JoinHandle<Means>>)| {
        (shell, thread.and_then(|thread| thread.join().ok()).unwrap_or(Means::Unknown))
    };
    running.into_iter().map(answer).collect()
}

/// Where zsh reads its start files, which `~/.zshenv` may decide without telling whoever it starts; `None` when it did not say.
pub fn zsh_dir(host: &Host) -> Option<PathBuf> {
    let zsh = find(Shell::Zsh, host)?;
    let said = hear(start(&zsh, &["-c", "print -r -- ${ZDOTDIR:-$HOME}"])?);
    let dir = PathBuf::from(said.trim_end().rsplit('\n').next()?);
    dir.is_absolute().then_some(dir)
}

/// The one that the user has chosen, else the one in a usual place.
fn find(shell: Shell, host: &Host) -> Option<PathBuf> {
    let chosen = host.var("SHELL").map(PathBuf::from).filter(|file| file.is_absolute());
    let usual = DIRS.iter().map(|dir| Path::new(dir).join(shell.name()));
    let named = |file: &PathBuf| file.file_name() == Some(shell.name().as_ref()) && file.is_file();
    chosen.into_iter().chain(usual).find(named)
}

fn ask(shell: Shell, file: &Path) -> Option<std::process::Child> {
    let question = match shell {
        Shell::Zsh => ZSH,
        Shell::Bash => BASH,
        Shell::Fish => FISH,
    };
    start(file, &["-i", "-c", question])
}

/// In a session of its own: no shell may take the terminal from whoever asks.
fn start(file: &Path, words: &[&str]) -> Option<std::process::Child> {
    let mut command = Command::new(file);
    command.args(words).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: setsid is async-signal-safe and touches no memory.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
    command.spawn().ok()
}

/// What it prints, within the limit.
fn hear(mut child: std::process::Child) -> String {
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.map(|out| out.take(1 << 20).read_to_end(&mut bytes));
        bytes
    });
    let end = Instant::now() + LIMIT;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    // Whatever the start files have left running would hold the pipe open.
    let _ = killpg(Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)), Signal::SIGKILL);
    let _ = child.wait();
    let bytes = reader.join().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn means(said: &str) -> Means {
    let Some((kind, value)) =
        said.rsplit(MARK).next().filter(|rest| rest.len() < said.len()).and_then(|rest| rest.split_once(':'))
    else {
        return Means::Unknown;
    };
    let value = value.trim_end();
    match kind {
        "alias" => Means::Alias(shown(value.trim_start_matches("alias "))),
        "flags" => Means::Flags(shown(value.trim_start_matches("alias "))),
        "function" if value.contains("refusing to run claude") => Means::Ours,
        "function" => Means::Function,
        "file" => Means::File(shown(value)),
        "nothing" => Means::Nothing,
        _ => Means::Unknown,
    }
}

/// For a person's eyes: control characters made visible.
fn shown(text: &str) -> String {
    vmclaude_shim::refusal::shown(Path::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_counts_and_noise_is_none() {
        assert_eq!(means("hello\nvmclaude-means:file:/usr/bin/claude\n"), Means::File("/usr/bin/claude".into()));
        assert_eq!(means("vmclaude-means:alias:alias claude='/x'\n"), Means::Alias("claude='/x'".into()));
        assert_eq!(means("vmclaude-means:function:f () {\n  refusing to run claude\n}\n"), Means::Ours);
        assert_eq!(means("vmclaude-means:function:f () {\n}\n"), Means::Function);
        assert_eq!(means("vmclaude-means:nothing:\n"), Means::Nothing);
        for noise in ["", "claude: function", "vmclaude-means:"] {
            assert_eq!(means(noise), Means::Unknown, "{noise:?}");
        }
    }
}
