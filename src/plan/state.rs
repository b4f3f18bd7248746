//! Where what a project's sessions keep lies: on the host, and in the guest.
//!
//! By construction nothing that one project's session wrote runs in another's: each has a home and a Claude configuration
//! of its own. All have two directories in common: the login, in which nothing is ever executed, and `shared`, which the
//! guest can only read.

use super::auth::Auth;
use super::mounts::GUEST_HOME;
use super::{Mount, Setup};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Claude Code's configuration in the guest. The same path in every project: some of its files hold it.
pub const CONFIG: &str = "/home/claude/.claude";
/// The directory with the login in the guest. Claude Code locks it by a directory beside it, which must be shared too:
/// hence one directory more than is mounted.
pub const LOGIN: &str = "/var/lib/vmclaude/login/claude";
const LOGIN_MOUNT: &str = "/var/lib/vmclaude/login";
/// What the user wants in every project, in the guest.
const SHARED: &str = "/var/lib/vmclaude/shared";

/// What Claude Code reads from its configuration and a user wants everywhere.
pub const COMMON: [&str; 8] =
    ["settings.json", "CLAUDE.md", "skills", "agents", "commands", "rules", "output-styles", "keybindings.json"];

/// Where the user's ssh agent is in the guest.
pub const AGENT: &str = "/run/vmclaude/agent.sock";

/// Directories of the configuration that describe running processes: they mean nothing in another machine, and Claude
/// Code removes what it takes for dead.
const OWN: [&str; 6] = ["sessions", "ide", "jobs", "daemon", "session-env", "shell-snapshots"];

/// Whose the guest's home is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Home {
    /// The project's: what a session leaves there, only sessions of the same project find.
    #[default]
    Project,
    /// Every project's: what one session leaves in `.bashrc`, the next one runs, wherever it is.
    Shared,
}

/// The host's directories behind one project's guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The project's directory, which no guest sees.
    pub project: PathBuf,
    /// The guest's home.
    pub home: PathBuf,
    /// Claude Code's configuration: conversations, memory, history, trust, MCP servers.
    pub config: PathBuf,
    /// The login.
    pub login: PathBuf,
    /// What the user wants everywhere.
    pub shared: PathBuf,
}

impl State {
    /// The directories below `root` (`~/.vm-claude`) of the project that is known as `key`.
    pub fn of(root: &Path, key: &str, home: Home) -> State {
        let project = root.join("projects").join(key);
        State {
            home: if home == Home::Shared { root.join("home") } else { project.join("home") },
            config: project.join("claude"),
            login: root.join("login"),
            shared: root.join("shared"),
            project,
        }
    }

    /// The mounts. The home comes before what lies in it. A login is no business of a guest that is not to have a key.
    pub fn mounts(&self, auth: Auth) -> Vec<Mount> {
        let mount = |host: &Path, guest: &str, tag: &str, writable, coherent| Mount {
            host: host.to_path_buf(),
            guest: guest.into(),
            tag: tag.into(),
            writable,
            coherent,
            identity: None,
        };
        let login = mount(&self.login, LOGIN_MOUNT, "login", true, true);
        let mut all = vec![
            mount(&self.home, GUEST_HOME, "home", true, false),
            // Machines lock and replace files here while others read them.
            mount(&self.config, CONFIG, "claude", true, true),
            mount(&self.shared, SHARED, "shared", false, false),
        ];
        all.extend((auth == Auth::Guest).then_some(login));
        all
    }
}

/// Links to what is shared. The guest makes those that lead somewhere, where the project has nothing of its own.
pub fn links() -> Vec<(PathBuf, PathBuf)> {
    COMMON.iter().map(|name| (Path::new(CONFIG).join(name), Path::new(SHARED).join(name))).collect()
}

/// What is set up in the guest; about `key`, if there is one, nobody need be asked.
pub fn setup(system: Vec<(PathBuf, Vec<u8>)>, key: Option<&str>) -> Setup {
    let file = Path::new(CONFIG).join(".claude.json");
    Setup {
        system,
        approve: key.and_then(tail).map(|end| (file.clone(), end.to_owned())),
        seeds: vec![(file, first_config().into_bytes())],
        api: None,
        agent: None,
        own: OWN.iter().map(|name| Path::new(CONFIG).join(name)).collect(),
    }
}

/// Claude Code's own file as a first start would leave it: no theme to pick.
fn first_config() -> String {
    serde_json::json!({ "hasCompletedOnboarding": true }).to_string()
}

/// The part of a key by which Claude Code remembers the answer to its question.
pub fn tail(key: &str) -> Option<&str> {
    let key = key.trim();
    let at = key.len().saturating_sub(20);
    (!key.is_empty()).then(|| key.get(at..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_have_nothing_in_common_but_the_login_and_what_is_read_only() {
        let of = |key: &str, home| State::of(Path::new("/h/.vm-claude"), key, home);
        let mounts = |key, auth| of(key, Home::Project).mounts(auth);
        let (a, b) = (mounts("a", Auth::Guest), mounts("b", Auth::Guest));
        let common: Vec<_> = a.iter().filter(|m| b.contains(m)).map(|m| (m.tag.as_str(), m.writable)).collect();
        assert_eq!(common, [("shared", false), ("login", true)]);
        assert!(!mounts("a", Auth::Host).iter().any(|mount| mount.tag == "login"));
        let overlaps = |a: &Mount, b: &Mount| a.host.starts_with(&b.host) || b.host.starts_with(&a.host);
        for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))).filter(|(a, b)| a != b) {
            assert!(!overlaps(a, b), "{} and {}", a.host.display(), b.host.display());
        }
        let shared = of("a", Home::Shared);
        assert_eq!(shared.home, Path::new("/h/.vm-claude/home"));
        assert_eq!(shared.config, of("a", Home::Project).config, "conversations stay apart");
    }

    #[test]
    fn only_the_end_of_a_key_goes_into_a_file() {
        let key = "sk-ant-0123456789abcdefghijklmnopqrst";
        assert_eq!(tail(key), Some("abcdefghijklmnopqrst").filter(|t| key.ends_with(t)));
        let setup = setup(Vec::new(), Some(key));
        assert_eq!(setup.approve.map(|(_, end)| end).as_deref(), Some("abcdefghijklmnopqrst"));
        assert!(!String::from_utf8_lossy(&setup.seeds[0].1).contains("abcdef"));
        assert!(tail(" ").is_none() && tail("k") == Some("k"));
    }
}
