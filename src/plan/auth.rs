//! Who holds the key: the guest, or this host, which then adds it to requests on their way out.

use crate::error::{Failure, Result};
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Where the key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// In the guest: whatever runs there can read it.
    #[default]
    Guest,
    /// Here: whatever runs in the guest can use it while the session lasts, and cannot read it.
    Host,
}

/// The guest's port behind which the host adds the key.
pub const PORT: u16 = 3129;
/// What the guest has for a key. A token, because Claude Code asks nobody whether it may use one.
const PLACEHOLDER: &str = "held-by-vmclaude-on-the-host";
/// Variables that hold keys, or say where they are sent.
const HELD: [&str; 8] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "ANTHROPIC_IDENTITY_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN_FILE",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_FOUNDRY_API_KEY",
];
/// Other ways to a model, whose keys are not of this kind.
const CLOUDS: [&str; 3] = ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"];
/// What says in a header's name that its value is a secret, and words in which that says nothing: a gateway's name, a person.
const SECRET: [&str; 7] = ["key", "token", "auth", "secret", "cookie", "password", "credential"];
const HARMLESS: [&str; 2] = ["portkey", "author"];
/// The shortest secret that is looked for: a shorter one is nobody's key, and part of many words.
pub const SHORTEST: usize = 8;
const DEFAULT: &str = "https://api.anthropic.com";

/// Anthropic's API as this host reaches it, and what it adds to requests.
#[derive(Clone, PartialEq, Eq)]
pub struct Api {
    /// Whether it is reached by TLS.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// What comes before each path.
    pub prefix: String,
    /// Headers, the key among them.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}{}", if self.tls { "https" } else { "http" }, self.host, self.port, self.prefix)
    }
}

impl Api {
    /// The API and the key of this environment; `None`: there is no key.
    ///
    /// # Errors
    /// Exit 64 when the key is one that cannot be held, or would travel unencrypted.
    pub fn of<'a>(var: impl Fn(&str) -> Option<&'a str>) -> Result<Option<Api>> {
        let var = |name: &str| var(name).map(str::trim).filter(|value| !value.is_empty());
        if let Some(cloud) = CLOUDS.iter().find(|name| var(name).is_some()) {
            return Err(Failure::usage("cannot hold this key on the host")
                .because(format!("{cloud} is set, and auth = \"host\" knows keys of Anthropic's API only"))
                .next(format!("unset {cloud}, or auth = \"guest\" in config.toml")));
        }
        let mut headers: Vec<_> = var("ANTHROPIC_CUSTOM_HEADERS")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split_once(':').map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned())))
            .collect();
        let key = var("ANTHROPIC_API_KEY").map(|key| ("x-api-key".to_owned(), key.to_owned()));
        let token = var("ANTHROPIC_AUTH_TOKEN").map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        if key.is_none() && token.is_none() {
            return Ok(None);
        }
        headers.extend(key.into_iter().chain(token));
        let url = var("ANTHROPIC_BASE_URL").unwrap_or(DEFAULT);
        let bad = |why: &str| {
            Failure::usage("cannot use ANTHROPIC_BASE_URL")
                .because(format!("{}: {why}", url.escape_debug()))
                .next(format!("export ANTHROPIC_BASE_URL={DEFAULT}"))
        };
        let uri: hyper::Uri = url.parse().map_err(|_| bad("this is no address"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("neither https nor http")),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || uri.authority().is_some_and(|a| a.as_str().contains('@')) || uri.query().is_some() {
            return Err(bad("a host and a path are expected"));
        }
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.is_loopback());
        if !tls && !here {
            return Err(bad("the key would travel unencrypted"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Some(Api { tls, host, port, prefix: uri.path().trim_end_matches('/').to_owned(), headers }))
    }

    /// What nobody else may see: the key, and what other headers hold whose names say so. The rest is no secret, and to look for it
    /// would take a project's name out of every answer.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let secrets = self.headers.iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| secret(value));
        secrets.filter(|secret| secret.len() >= SHORTEST)
    }

    /// The guest's environment when the key stays here: nothing that holds one, whatever it is called.
    pub fn kept_out_of(this: Option<&Api>, env: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        let secrets: Vec<&[u8]> = this.iter().flat_map(|api| api.secrets()).collect();
        let holds = |value: &OsStr| secrets.iter().any(|s| value.as_bytes().windows(s.len()).any(|part| part == *s));
        let mut env: Vec<_> = env
            .into_iter()
            .filter(|(name, value)| !HELD.iter().any(|held| name == OsStr::new(held)) && !holds(value))
            .collect();
        if this.is_some() {
            env.push(("ANTHROPIC_BASE_URL".into(), format!("http://127.0.0.1:{PORT}").into()));
            env.push(("ANTHROPIC_AUTH_TOKEN".into(), PLACEHOLDER.into()));
        }
        env.sort();
        env
    }
}

/// Whether a header of this name, in small letters, holds a secret.
fn is_secret(name: &str) -> bool {
    let mut words = name.split(['-', '_']).filter(|word| !HARMLESS.contains(word));
    words.any(|word| SECRET.iter().any(|secret| word.contains(secret)))
}

/// The part of a header's value that is the secret.
fn secret(value: &str) -> &[u8] {
    value.strip_prefix("Bearer ").unwrap_or(value).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(vars: &[(&str, &str)]) -> Result<Option<Api>> {
        Api::of(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| *v))
    }

    #[test]
    fn the_key_and_the_way_are_the_environments() {
        assert_eq!(api(&[]), Ok(None));
        assert_eq!(api(&[("ANTHROPIC_API_KEY", " ")]), Ok(None));
        let plain = api(&[("ANTHROPIC_API_KEY", "k")]).expect("fine").expect("a key");
        assert_eq!(plain.to_string(), "https://api.anthropic.com:443");
        assert_eq!(plain.headers, [("x-api-key".to_owned(), "k".to_owned())]);
        assert!(!format!("{plain:?}").contains('k'));
        let gateway = [
            ("ANTHROPIC_AUTH_TOKEN", "t"),
            ("ANTHROPIC_BASE_URL", "https://gate.example:8443/claude/"),
            ("ANTHROPIC_CUSTOM_HEADERS", "X-Team: a:b\nbad"),
        ];
        let gateway = api(&gateway).expect("fine").expect("a token");
        assert_eq!(gateway.to_string(), "https://gate.example:8443/claude");
        let headers = [("x-team", "a:b"), ("authorization", "Bearer t")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(gateway.headers, headers);
        for url in
            ["http://api.anthropic.com", "ftp://x", "x", "https://u:p@x", "https://x/?q", "http://127.0.0.1.evil"]
        {
            assert!(api(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", url)]).is_err(), "{url}");
        }
        assert!(api(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "http://[::1]:80")]).is_ok());
        assert!(api(&[("ANTHROPIC_API_KEY", "k"), ("CLAUDE_CODE_USE_VERTEX", "1")]).is_err());
    }

    #[test]
    fn a_header_is_secret_if_its_name_says_so() {
        for name in [
            "x-api-key",
            "authorization",
            "proxy-authorization",
            "x-apikey",
            "x-portkey-api-key",
            "x_session_token",
            "helicone-auth",
            "cf-access-client-secret",
            "cookie",
            "x-password",
            "x-credentials",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["x-project", "x-flag", "x-team", "x-portkey-provider", "x-author", "anthropic-beta", "user-agent"]
        {
            assert!(!is_secret(name), "{name}");
        }
        let headers = "X-Project: vmclaude\nX-Flag-Token: on\nX-Gate-Token: gate-secret";
        let api = api(&[("ANTHROPIC_API_KEY", "sk-ant-secret"), ("ANTHROPIC_CUSTOM_HEADERS", headers)]).expect("fine");
        let secrets: Vec<_> = api.iter().flat_map(Api::secrets).collect();
        assert_eq!(secrets, [&b"gate-secret"[..], b"sk-ant-secret"]);
        let env = [("HERE", "/src/vmclaude"), ("IT", "gate-secret")].map(|(n, v)| (n.into(), v.into())).to_vec();
        let kept = Api::kept_out_of(api.as_ref(), env);
        let names: Vec<_> = kept.iter().map(|(n, _)| n.to_str().expect("text")).collect();
        assert_eq!(names, ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "HERE"]);
    }

    #[test]
    fn no_variable_takes_the_key_along_whatever_it_is_called() {
        let api =
            api(&[("ANTHROPIC_API_KEY", "sk-ant-secret"), ("ANTHROPIC_AUTH_TOKEN", "token-secret")]).expect("fine");
        let env = [
            ("ANTHROPIC_API_KEY", "sk-ant-secret"),
            ("MINE", "x sk-ant-secret y"),
            ("ALSO", "token-secret"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "o"),
            ("ANTHROPIC_MODEL", "opus"),
        ];
        let env: Vec<_> = env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect();
        let kept = Api::kept_out_of(api.as_ref(), env.clone());
        let names: Vec<_> = kept.iter().map(|(n, _)| n.to_str().expect("text")).collect();
        assert_eq!(names, ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL"]);
        assert!(!format!("{kept:?}").contains("secret"));
        assert!(!Api::kept_out_of(None, env).iter().any(|(n, _)| n == "CLAUDE_CODE_OAUTH_TOKEN"), "also without a key");
    }
}
