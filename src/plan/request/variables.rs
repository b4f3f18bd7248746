//! Variables that no project may ask for.

use super::{bad, never};
use crate::error::Result;

/// The longest name, in bytes.
const LONGEST: usize = 100;

/// Variables that make programs run other code, lead to an agent of the user's, or hold a key by their name.
const VARIABLES: [&str; 31] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "ENV",
    "BASH_ENV",
    "IFS",
    "PROMPT_COMMAND",
    "PS4",
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "TMUX",
    "BROWSER",
    "DOCKER_HOST",
    "KUBECONFIG",
    "NODE_OPTIONS",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PERL5OPT",
    "RUBYOPT",
    "JAVA_TOOL_OPTIONS",
];
const FAMILIES: [&str; 10] =
    ["LD_", "DYLD_", "VMCLAUDE_", "AWS_", "AZURE_", "GOOGLE_", "GIT_", "ANTHROPIC_", "CLAUDE_", "BASH_FUNC_"];
const ENDINGS: [&str; 9] = ["_TOKEN", "_KEY", "_PROXY", "_PAT", "_PASS", "_PWD", "_AUTH", "_COOKIE", "_SESSION"];
const PARTS: [&str; 6] = ["SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "APIKEY"];

/// Refuses what is no name, and what no project may have.
pub(super) fn check(name: &str) -> Result<()> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || name.len() > LONGEST
        || !name.chars().all(letters)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Err(bad(format!("{name:?} in env is not the name of one variable")));
    }
    let upper = name.to_ascii_uppercase();
    let held = VARIABLES.contains(&&*upper)
        || FAMILIES.iter().any(|f| upper.starts_with(f))
        || ENDINGS.iter().any(|e| upper.ends_with(e) || upper == e[1..])
        || PARTS.iter().any(|p| upper.contains(p));
    match held {
        true => Err(never(
            &format!("the variable {name}"),
            "by its name it is a key, or steers programs; `[env] pass` in your own config.toml can pass it",
        )),
        false => Ok(()),
    }
}
