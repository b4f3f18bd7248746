//! What git in the guest needs of this host: who commits, and for linked worktrees and submodules the git directory that
//! lies outside of the project. And what of the project the host's git obeys.

mod named;
mod outside;

pub use named::held;
pub use outside::{Outside, TAG, outside, pin};

use crate::enrollment::programs;
use crate::host::Host;
use crate::session::ask;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where git is looked for: never in PATH, which an enrolled tree could be part of.
const PROGRAMS: [&str; 5] =
    ["/usr/bin/git", "/usr/local/bin/git", "/bin/git", "/opt/homebrew/bin/git", "/run/current-system/sw/bin/git"];
/// The system's configuration in the guest: the weakest, so that the project's own counts more.
pub const SYSTEM_CONFIG: &str = "/etc/gitconfig";
/// For an answer that takes milliseconds, unless a home on the network is away.
const LIMIT: Duration = Duration::from_secs(1);

/// Name and e-mail address of who commits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// `user.name`.
    pub name: Option<String>,
    /// `user.email`.
    pub email: Option<String>,
}

/// Asks the host's git who commits in `project`: from the user's own configuration only, conditions on the directory
/// included. Nothing else of that configuration leaves the host.
pub fn identity(host: &Host, project: &Path) -> Identity {
    let Some(mut command) = git(host) else { return Identity::default() };
    command.current_dir(project).args(["config", "--global", "--includes", "--null", "--get-regexp"]);
    command.arg(r"^user\.(name|email)$");
    ask::output(command, LIMIT).map_or_else(Identity::default, |text| parse(&text))
}

/// The host's git, with nothing of the environment but where the configuration is.
fn git(host: &Host) -> Option<Command> {
    let program = PROGRAMS.iter().map(Path::new).find(|program| program.is_file())?;
    programs::check(program, host).ok()?;
    let mut command = Command::new(program);
    command.env_clear().env("HOME", &host.home).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
    for name in ["XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"] {
        if let Some(value) = host.var(name) {
            command.env(name, value);
        }
    }
    Some(command)
}

/// `name\nvalue\0` for each; the last one counts.
fn parse(text: &str) -> Identity {
    let mut identity = Identity::default();
    for (name, value) in text.split('\0').filter_map(|entry| entry.split_once('\n')) {
        let value = Some(value.to_owned()).filter(|value| !value.trim().is_empty());
        match name {
            "user.name" => identity.name = value,
            "user.email" => identity.email = value,
            _ => {}
        }
    }
    identity
}

/// The guest's system configuration. Every directory is safe there: the machine has one user. Worktrees that the guest does
/// not see are not gone.
pub fn system_config(identity: &Identity) -> Vec<u8> {
    let value = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let mut text = String::from("[safe]\n\tdirectory = *\n[gc]\n\tworktreePruneExpire = never\n[user]\n");
    for (key, known) in [("name", &identity.name), ("email", &identity.email)] {
        if let Some(known) = known {
            text += &format!("\t{key} = {}\n", value(known));
        }
    }
    text.into_bytes()
}

/// One value of a configuration file, without the file's own includes.
fn value_in(host: &Host, file: &Path, key: &str) -> Option<PathBuf> {
    let mut command = git(host)?;
    command.current_dir("/").args(["config", "--no-includes", "--null", "--file"]).arg(file).args(["--get", key]);
    let text = ask::output(command, LIMIT)?;
    Some(PathBuf::from(text.split('\0').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::host;

    #[test]
    fn only_the_two_keys_are_taken_and_they_are_quoted() {
        let got =
            parse("user.name\nA \"B\\C\" Name\nevil\0user.email\na@b.example\0user.name\nLast\"\\\u{7}\0user.x\ny\0");
        assert_eq!((got.name.as_deref(), got.email.as_deref()), (Some("Last\"\\\u{7}"), Some("a@b.example")));
        let text = String::from_utf8(system_config(&got)).expect("text");
        assert!(text.ends_with("[user]\n\tname = \"Last\\\"\\\\\"\n\temail = \"a@b.example\"\n"), "{text}");
        assert_eq!(parse(""), Identity::default());
        assert_eq!(parse("user.name\n \0"), Identity::default(), "an empty name is none");
    }

    #[test]
    fn a_condition_on_the_directory_counts_and_the_projects_own_configuration_does_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let home = dir.path().canonicalize().expect("real");
        let mut host = host();
        host.home.clone_from(&home);
        assert_eq!(identity(&host, &home), Identity::default(), "nobody said who they are");
        let project = home.join("work/p");
        std::fs::create_dir_all(&project).expect("mkdir");
        let git = |words: &[&str]| {
            let mut command = super::git(&host).expect("git");
            assert!(command.current_dir(&project).args(words).output().expect("git").status.success(), "{words:?}");
        };
        git(&["init", "-q"]);
        git(&["config", "user.email", "project@evil.example"]);
        let global =
            "[user]\n\tname = A Name\n\temail = a@home.example\n[includeIf \"gitdir:~/work/\"]\n\tpath = work.conf\n";
        std::fs::write(home.join(".gitconfig"), global).expect("write");
        std::fs::write(home.join("work.conf"), "[user]\n\temail = a@work.example\n[core]\n\teditor = x\n")
            .expect("write");
        let got = identity(&host, &project);
        assert_eq!((got.name.as_deref(), got.email.as_deref()), (Some("A Name"), Some("a@work.example")));
        assert_eq!(identity(&host, &home).email.as_deref(), Some("a@home.example"));
    }
}
