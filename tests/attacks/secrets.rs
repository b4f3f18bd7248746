//! What the host's environment holds and no guest was given.

use crate::guest::Attack;
use std::process::Command;

const CLASS: &str = "secrets";

/// Variables that stay here, with the same canary as the value of each.
const SECRETS: [&str; 12] = [
    "AWS_SECRET_ACCESS_KEY",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "NPM_TOKEN",
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    "KUBECONFIG",
    "DATABASE_URL",
    "OPENAI_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "DBUS_SESSION_BUS_ADDRESS",
    "VAULT_TOKEN",
];

pub(crate) fn plant(command: &mut Command) -> &mut Command {
    for name in SECRETS {
        command.env(name, format!("canary-of-{name}"));
    }
    command.env("ANTHROPIC_API_KEY", "canary-that-is-meant")
}

pub(crate) fn attacks() -> Vec<Attack> {
    // Split, so that the search does not find itself.
    let look = |what: &str| {
        format!(
            "w=canary-; f=/tmp/all-$(id -u); [ -s $f ] || cat /proc/[0-9]*/environ /proc/cmdline /etc/environment 2>/dev/null \
             | tr '\\0' '\\n' > $f; grep -q \"${{w}}{what}\" $f"
        )
    };
    SECRETS
        .iter()
        .map(|name| Attack::new(CLASS, name, look(&format!("of-{name}"))).control(look("that-is-meant")))
        .collect()
}
