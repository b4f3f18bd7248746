//! Which environment variables cross, and why each does.

use super::Setup;
use super::auth::{Api, Auth};
use super::locale;
use super::network::Mode;
use crate::host::{Host, ZONE_FILE};
use crate::settings::Settings;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use vmclaude_init::wire::proto::PROXY_PORT;

/// What the terminal can do, and which language and colours the person wants.
const TERMINAL: &[&str] = &[
    "TERM",
    "COLORTERM",
    "TERM_PROGRAM",
    "TERM_PROGRAM_VERSION",
    "LC_TERMINAL",
    "LC_TERMINAL_VERSION",
    "ITERM_SESSION_ID",
    "KITTY_WINDOW_ID",
    "VTE_VERSION",
    "WT_SESSION",
    "KONSOLE_VERSION",
    "XTERM_VERSION",
    "COLORFGBG",
    "TERMINAL_EMULATOR",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "LANG",
    "LANGUAGE",
    "TZ",
];

/// How Claude Code logs in, which model it uses, and how it behaves. `CLAUDE_CODE_SSE_PORT` is not among them: the
/// guest cannot reach an editor on the host.
const CLAUDE: &[&str] = &[
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_SKIP_BEDROCK_AUTH",
    "CLAUDE_CODE_SKIP_VERTEX_AUTH",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_MAX_RETRIES",
    "CLAUDE_CODE_EFFORT_LEVEL",
    "CLAUDE_CODE_NO_FLICKER",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE",
    "CLAUDE_CODE_ENABLE_TELEMETRY",
    "API_TIMEOUT_MS",
    "MAX_THINKING_TOKENS",
    "BASH_DEFAULT_TIMEOUT_MS",
    "BASH_MAX_TIMEOUT_MS",
    "BASH_MAX_OUTPUT_LENGTH",
    "MCP_TIMEOUT",
    "MCP_TOOL_TIMEOUT",
    "MAX_MCP_OUTPUT_TOKENS",
    "DISABLE_TELEMETRY",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_PROMPT_CACHING",
    "DISABLE_COST_WARNINGS",
    "DO_NOT_TRACK",
];

/// Families that cross whole.
const PREFIXES: &[&str] = &["ANTHROPIC_", "LC_"];

/// Cloud credentials cross only when Claude Code was told to use that cloud.
const CLOUDS: &[(&str, &[&str])] = &[
    (
        "CLAUDE_CODE_USE_BEDROCK",
        &[
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "AWS_BEARER_TOKEN_BEDROCK",
        ],
    ),
    ("CLAUDE_CODE_USE_VERTEX", &["CLOUD_ML_REGION", "GOOGLE_CLOUD_PROJECT", "VERTEX_REGION_CLAUDE_4_0_SONNET"]),
];

/// The guest's own: no updates and no background jobs in a VM that goes away.
const GUEST: &[(&str, &str)] = &[
    ("HOME", super::mounts::GUEST_HOME),
    ("USER", "claude"),
    ("LOGNAME", "claude"),
    ("SHELL", "/bin/bash"),
    ("PATH", "/home/claude/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("DISABLE_UPDATES", "1"),
    ("DISABLE_INSTALLATION_CHECKS", "1"),
    ("CLAUDE_CODE_DISABLE_AGENT_VIEW", "1"),
    ("CLAUDE_CONFIG_DIR", super::state::CONFIG),
    ("CLAUDE_SECURESTORAGE_CONFIG_DIR", super::state::LOGIN),
    // Those that bring lists of their own, or look elsewhere: a company's authority is only in this one.
    ("NODE_EXTRA_CA_CERTS", AUTHORITIES),
    ("REQUESTS_CA_BUNDLE", AUTHORITIES),
    ("SSL_CERT_FILE", AUTHORITIES),
];

/// All that the guest trusts, in one file.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The way out for programs that know of proxies: with it the host is told names, not only addresses. There is a SOCKS
/// proxy too, but `ALL_PROXY` stays unset: some programs take it for one that they cannot speak to, and give up.
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
/// What goes with it.
const BESIDE_PROXIES: &[(&str, &str)] = &[("NO_PROXY", LOCAL), ("no_proxy", LOCAL), ("NODE_USE_ENV_PROXY", "1")];
/// With what servers name as their address, and the guest's own name.
const LOCAL: &str = "localhost,127.0.0.1,::1,0.0.0.0,vmclaude";

/// The guest's environment from the host's, with the names that the user added. Sorted by name.
pub fn guest(host: &Host, settings: &Settings, network: Mode, setup: &Setup) -> Vec<(OsString, OsString)> {
    let added = &settings.env;
    let crossing = host.env.iter().filter(|(name, _)| crosses(name, &host.env, added));
    let mut env: BTreeMap<OsString, OsString> =
        crossing.filter_map(|(name, value)| Some((name.clone(), translated(name, value, added)?))).collect();
    if let Some(zone) = host.zone.as_ref().filter(|_| !env.get(OsStr::new("TZ")).is_some_and(|tz| is_a_zone(tz))) {
        env.insert("TZ".into(), zone.into());
    }
    let mut set = |these: &[(&str, &str)]| env.extend(these.iter().map(|(n, v)| (n.into(), v.into())));
    set(GUEST);
    if network != Mode::None {
        // That name has both families' addresses in a guest, so that `curl -6` finds its proxy too.
        let proxy = format!("http://localhost:{PROXY_PORT}");
        set(&PROXIES.map(|name| (name, proxy.as_str())));
        set(BESIDE_PROXIES);
    }
    if setup.agent.is_some() {
        env.insert("SSH_AUTH_SOCK".into(), super::state::AGENT.into());
    }
    let env = env.into_iter().collect();
    if settings.auth == Auth::Host { Api::kept_out_of(setup.api.as_ref(), env) } else { env }
}

fn crosses(name: &OsStr, host: &BTreeMap<OsString, OsString>, added: &[String]) -> bool {
    let Some(name) = name.to_str() else { return false };
    TERMINAL.contains(&name)
        || CLAUDE.contains(&name)
        || PREFIXES.iter().any(|p| name.starts_with(p))
        || added.iter().any(|a| a == name)
        || CLOUDS.iter().any(|(switch, names)| host.contains_key(OsStr::new(switch)) && names.contains(&name))
}

/// The value that means in the guest what this one means here; `None`: there it is better unset. What the user named himself
/// is left as it is: he may have put its locale into the image.
fn translated(name: &OsStr, value: &OsStr, added: &[String]) -> Option<OsString> {
    match name.to_str() {
        Some(name) if locale::is_named_by(name) && !added.iter().any(|a| a == name) => {
            locale::in_guest(&value.to_string_lossy()).map(Into::into)
        }
        _ => Some(value.to_owned()),
    }
}

/// Whether this value of `TZ` says more than that the system's zone counts: the guest's is UTC.
fn is_a_zone(tz: &OsStr) -> bool {
    let tz = tz.as_encoded_bytes();
    tz.strip_prefix(b":").unwrap_or(tz) != ZONE_FILE.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)], added: &[&str]) -> Vec<(String, String)> {
        with_zone(pairs, added, None)
    }

    fn with_zone(pairs: &[(&str, &str)], added: &[&str], zone: Option<&str>) -> Vec<(String, String)> {
        let mut host = crate::host::tests::host();
        host.zone = zone.map(Into::into);
        host.env = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let mut settings = crate::settings::tests::settings("");
        settings.env = added.iter().map(|a| (*a).into()).collect();
        let text = |s: OsString| s.into_string().expect("text");
        guest(&host, &settings, Mode::Open, &Setup::default()).into_iter().map(|(n, v)| (text(n), text(v))).collect()
    }

    #[test]
    fn only_what_is_on_the_list_crosses() {
        let host = [
            ("TERM", "xterm"),
            ("ANTHROPIC_API_KEY", "k"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("SSH_AUTH_SOCK", "x"),
            ("DISPLAY", ":0"),
            ("PATH", "/bad"),
            ("LC_ALL", "C"),
            ("MINE", "1"),
        ];
        let got = env(&host, &["MINE"]);
        let has = |n: &str| got.iter().any(|(name, _)| name == n);
        assert!(has("TERM") && has("ANTHROPIC_API_KEY") && has("LC_ALL") && has("MINE"));
        assert!(!has("AWS_SECRET_ACCESS_KEY") && !has("SSH_AUTH_SOCK") && !has("DISPLAY"));
        assert!(got.contains(&("DISABLE_UPDATES".into(), "1".into())));
        assert!(!got.iter().any(|(_, v)| v == "/bad"), "the guest's own PATH");
        let bedrock = env(&[("CLAUDE_CODE_USE_BEDROCK", "1"), ("AWS_SECRET_ACCESS_KEY", "s")], &[]);
        assert!(bedrock.iter().any(|(n, _)| n == "AWS_SECRET_ACCESS_KEY"));
    }

    #[test]
    fn locales_are_the_guests_and_what_the_user_passes_is_left_alone() {
        let host = [("LANG", "de_DE.UTF-8"), ("LC_ALL", ""), ("LC_TIME", "C"), ("LC_TERMINAL", "iTerm2")];
        let got = env(&host, &[]);
        let value = |name: &str| got.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(value("LANG"), Some("C.UTF-8"));
        assert_eq!((value("LC_ALL"), value("LC_TIME"), value("LC_TERMINAL")), (None, Some("C"), Some("iTerm2")));
        assert!(env(&host, &["LANG"]).contains(&("LANG".into(), "de_DE.UTF-8".into())), "it is in the image, he says");
    }

    #[test]
    fn the_hosts_time_zone_counts_unless_the_environment_names_one() {
        let tz = |pairs: &[(&str, &str)], zone| {
            with_zone(pairs, &[], zone).into_iter().find(|(name, _)| name == "TZ").map(|(_, value)| value)
        };
        let berlin = Some("Europe/Berlin");
        assert_eq!(tz(&[], berlin).as_deref(), berlin);
        assert_eq!(tz(&[("TZ", "Asia/Tokyo")], berlin).as_deref(), Some("Asia/Tokyo"));
        assert_eq!(tz(&[("TZ", "")], berlin).as_deref(), Some(""), "which is UTC");
        assert_eq!(tz(&[("TZ", ":/etc/localtime")], berlin).as_deref(), berlin);
        assert_eq!(tz(&[], None), None);
    }

    #[test]
    fn what_listens_in_the_guest_is_asked_directly() {
        let got = env(&[], &[]);
        for name in ["NO_PROXY", "no_proxy"] {
            let (_, value) = got.iter().find(|(n, _)| n == name).expect("set");
            for host in ["localhost", "127.0.0.1", "::1", "0.0.0.0", "vmclaude"] {
                assert!(value.split(',').any(|direct| direct == host), "{name}: {host}");
            }
        }
    }
}
