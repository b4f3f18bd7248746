//! What is approved, as a value: the request with its paths resolved, the text that a person was shown, and the digest
//! that stands for exactly that. Pure; `enrollment::trust` reads and keeps, `vmclaude approve` asks.

use super::request::{Limit, Request};
use crate::screen::Clipboard;
use crate::settings::Settings;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The first field of every digest, so that it can be one of nothing else.
const DOMAIN: &[u8] = b"vmclaude-approve-v1";

/// A directory of the host that a person let a VM see, beside the project and the guest's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where it is: canonical.
    pub host: PathBuf,
    /// Where it is in the guest.
    pub guest: PathBuf,
    /// Whether the guest may write.
    pub writable: bool,
    /// Which directory it was when that was decided.
    pub identity: super::Identity,
}

/// A request whose paths were looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The request as it was written.
    pub request: Request,
    /// Its mounts, in its order, each with what survives a reboot of its identity.
    pub mounts: Vec<(Extra, String)>,
}

/// The project that asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Where it is: canonical.
    pub root: &'a Path,
    /// Which directory that is, in words that survive a reboot.
    pub identity: &'a str,
    /// The bytes of its file.
    pub file: &'a [u8],
}

impl Resolved {
    /// What a person is shown and approves, one line for each wish, sorted; odd paths are quoted, so that none can look like
    /// other words of its line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (asked, (extra, _)) in self.request.mounts.iter().zip(&self.mounts) {
            let mode = if extra.writable { "read and write" } else { "read only" };
            let real = extra.host.to_string_lossy();
            let typed = if asked.host == *real { String::new() } else { format!(" (written {:?})", asked.host) };
            lines.push(format!("mount    {}{typed} at {}, {mode}", word(&real), word(&asked.guest)));
        }
        lines.extend(self.request.env.iter().map(|name| format!("env      {name}")));
        lines.extend(self.request.packages.iter().map(|name| format!("package  {name}")));
        lines.extend(self.request.ports.iter().map(|port| format!("port     {port}")));
        lines.extend(self.request.volumes.iter().map(|dir| format!("volume   {}", word(&dir.to_string()))));
        lines.extend(self.request.network.iter().map(|name| format!("network  {name}")));
        lines.sort();
        lines.dedup();
        lines
    }

    /// The digest of everything that an approval covers.
    pub fn digest(&self, asker: Asker<'_>) -> String {
        let mut hash = Sha256::new();
        // Each field behind its length: no two lists of fields have the same bytes.
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(DOMAIN);
        field(asker.root.as_os_str().as_bytes());
        field(asker.identity.as_bytes());
        field(asker.file);
        for (extra, identity) in &self.mounts {
            field(extra.host.as_os_str().as_bytes());
            field(extra.guest.as_os_str().as_bytes());
            field(identity.as_bytes());
            field(if extra.writable { b"rw" } else { b"ro" });
        }
        field(self.lines().join("\n").as_bytes());
        hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// A path as one word: with quotes around it, unless it is of plain letters only.
fn word(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@~".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("{path:?}") }
}

impl Settings {
    /// These settings, and no more than `limit`.
    #[must_use]
    pub fn tightened(mut self, limit: &Limit) -> Settings {
        if let Some(cpus) = limit.cpus {
            self.limits.cpus = self.limits.cpus.map(|n| n.min(cpus));
            self.most_cpus = Some(self.most_cpus.unwrap_or(cpus).min(cpus));
        }
        self.limits.memory = self.limits.memory.min(limit.memory.unwrap_or(u64::MAX));
        if limit.network.is_some() || limit.allow.is_some() {
            self.network = self.network.tightened(limit.network, limit.allow.as_deref());
        }
        self.protect.level = self.protect.level.max(limit.protect.unwrap_or(self.protect.level));
        if limit.clipboard == Some(Clipboard::Deny) {
            self.clipboard = Clipboard::Deny;
        }
        self
    }

    /// These settings with what was approved.
    #[must_use]
    pub fn widened(mut self, approved: &Resolved) -> Settings {
        let request = &approved.request;
        self.mounts.extend(approved.mounts.iter().map(|(extra, _)| extra.clone()));
        self.env.extend(request.env.iter().cloned());
        self.packages.extend(request.packages.iter().cloned());
        self.ports.extend(request.ports.iter().filter(|p| !self.ports.contains(p)).copied().collect::<Vec<_>>());
        self.volumes.extend(&request.volumes);
        self.network = self.network.with(None, &request.network, &[]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Identity;
    use crate::plan::network::Mode;
    use crate::plan::request::parse;
    use crate::settings::tests::settings;

    const TEXT: &str = "[request]\nmounts = [{ host = '/data', guest = '/mnt/data' }]\nenv = ['EDITOR']\n\
                        packages = ['golang']\nnetwork = ['a.example']\n[limit]\ncpus = 2\nmemory = '1G'\n";

    fn resolved(text: &str) -> Resolved {
        let request = parse(text.as_bytes()).expect("parses").request;
        let mounts = request.mounts.iter().map(|m| {
            let identity = Identity { dev: 1, ino: 2 };
            let extra = Extra { host: (&m.host).into(), guest: (&m.guest).into(), writable: m.writable, identity };
            (extra, "id".to_owned())
        });
        Resolved { mounts: mounts.collect(), request }
    }

    #[test]
    fn a_digest_is_of_exactly_this() {
        let asker = Asker { root: Path::new("/p"), identity: "i", file: TEXT.as_bytes() };
        let first = resolved(TEXT);
        let same = first.digest(asker);
        assert_eq!(resolved(TEXT).digest(asker), same);
        let mut others = vec![
            first.digest(Asker { root: Path::new("/q"), ..asker }),
            first.digest(Asker { identity: "j", ..asker }),
            first.digest(Asker { file: b"", ..asker }),
            first.digest(Asker { file: format!("{TEXT} ").as_bytes(), ..asker }),
            first.digest(Asker { file: TEXT.replace('\n', "\r\n").as_bytes(), ..asker }),
        ];
        let changes: [fn(&mut Resolved); 9] = [
            |r| r.mounts[0].0.host = "/data2".into(),
            |r| r.mounts[0].0.guest = "/mnt/data2".into(),
            |r| r.mounts[0].0.writable = true,
            |r| r.mounts[0].1 = "another".into(),
            |r| r.request.env.push("PAGER".into()),
            |r| r.request.packages.clear(),
            |r| r.request.network.clear(),
            |r| r.request.ports.push("5173".parse().expect("a port")),
            |r| r.request.volumes.push("target".to_owned().try_into().expect("a directory")),
        ];
        for change in changes {
            let mut other = first.clone();
            change(&mut other);
            others.push(other.digest(asker));
        }
        // A field must not be able to end where another one begins.
        others.push(first.digest(Asker { root: Path::new("/pi"), identity: "", ..asker }));
        others.push(same);
        let all = others.len();
        others.sort();
        others.dedup();
        assert_eq!(others.len(), all);
    }

    #[test]
    fn no_wish_can_look_like_another() {
        let odd = "/data at /mnt/d, read only\u{2028}mount /x";
        let mut forged = resolved(TEXT);
        forged.mounts[0].0.host = odd.into();
        forged.mounts[0].0.writable = true;
        forged.request.mounts[0].guest = "/mnt/d, read only".to_owned();
        forged.request.volumes.push("a b, read only".to_owned().try_into().expect("a directory"));
        let lines = forged.lines();
        let line = |kind: &str| lines.iter().find(|line| line.starts_with(kind)).expect("a line");
        let mount = r#"mount    "/data at /mnt/d, read only\u{2028}mount /x" (written "/data") at "/mnt/d, read only", read and write"#;
        assert_eq!((line("mount").as_str(), line("volume").as_str()), (mount, r#"volume   "a b, read only""#));
        assert!(resolved(TEXT).lines().contains(&"mount    /data at /mnt/data, read only".to_owned()));
    }

    #[test]
    fn limits_only_tighten() {
        let wide =
            settings("memory = '2G'\ncpus = 1\n[network]\nmode = 'allowlist'\nallow = ['*.a.example', 'b.example']");
        let limit = parse(b"[limit]\ncpus = 8\nmemory = '9G'\nnetwork = 'open'\nallow = ['x.a.example', 'c.example']")
            .expect("parses")
            .limit;
        let tight = wide.clone().tightened(&limit);
        assert_eq!((tight.limits, tight.most_cpus), (wide.limits, Some(8)));
        assert_eq!(tight.network.to_string(), "only x.a.example:443");
        let none = settings("[network]\nmode = 'none'").tightened(&limit);
        let strict = parse(b"[limit]\nprotect = 'strict'").expect("parses").limit;
        let loose = parse(b"[limit]\nprotect = 'none'").expect("parses").limit;
        assert_eq!(
            settings("").tightened(&strict).tightened(&loose).protect.level,
            crate::plan::protect::Level::Strict
        );
        let clip = |own: &str, limit: &str| {
            let limit = parse(format!("[limit]\nclipboard = '{limit}'").as_bytes()).expect("parses").limit;
            settings(&format!("clipboard = '{own}'")).tightened(&limit).clipboard
        };
        assert_eq!((clip("allow", "deny"), clip("allow", "allow")), (Clipboard::Deny, Clipboard::Allow));
        assert_eq!((clip("deny", "deny"), clip("deny", "allow")), (Clipboard::Deny, Clipboard::Deny));
        assert_eq!(none.network.mode, Mode::None, "a project cannot open what is closed");
        let open = settings("").tightened(&limit);
        assert_eq!(open.network.to_string(), "only x.a.example:443, c.example:443");
        assert_eq!(settings("").tightened(&Limit::default()), settings(""));
        let small = parse(b"[limit]\ncpus = 1\nmemory = '1G'\nnetwork = 'none'").expect("parses").limit;
        let small = settings("cpus = 4").tightened(&small);
        assert_eq!((small.limits.cpus, small.limits.memory, small.network.mode), (Some(1), 1024, Mode::None));
    }

    #[test]
    fn what_is_approved_is_added_and_nothing_else() {
        let wide = settings("[network]\nmode = 'allowlist'").widened(&resolved(TEXT));
        assert_eq!((wide.env, wide.packages), (vec!["EDITOR".to_owned()], vec!["golang".to_owned()]));
        assert_eq!(wide.network.to_string(), "only a.example:443");
        assert_eq!((wide.mounts.len(), wide.mounts[0].writable), (1, false));
    }
}
