//! The host's own Claude Code as the beginning of what every VM reads: its settings without what runs programs or holds
//! secrets, CLAUDE.md, skills, agents, commands. Copied once, when a person says so; never a credential.

use crate::error::{Context, Result};
use crate::files::{private_dir, write_atomic};
use crate::host::Host;
use crate::plan::state::COMMON;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Words in the names of settings that run a program of the host, or hold what is to stay there.
const LEFT_OUT: [&str; 14] = [
    "hook",
    "helper",
    "credential",
    "env",
    "auth",
    "token",
    "secret",
    "statusline",
    "command",
    "plugin",
    "marketplace",
    "sandbox",
    "mcp",
    "additionaldirectories",
];
/// Bounds of what is copied: somebody's skills, not somebody's disk.
const DEEPEST: usize = 8;
const MOST: usize = 2000;
const LARGEST: u64 = 1 << 20;

/// What could be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The host's configuration of Claude Code.
    pub from: PathBuf,
    /// Names in it.
    pub names: Vec<&'static str>,
}

/// What was copied and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Files that were written.
    pub files: usize,
    /// Settings that were left out.
    pub settings: Vec<String>,
    /// Files that were left out: links that lead out, odd or large ones.
    pub skipped: Vec<PathBuf>,
}

/// What of the host's own could be copied; `None` where there is nothing, or where something is shared already.
pub fn found(host: &Host) -> Option<Found> {
    let from = host.var("CLAUDE_CONFIG_DIR").map_or_else(|| host.home.join(".claude"), PathBuf::from);
    let shared = host.dirs.guest_home.join("shared");
    let used = std::fs::read_dir(shared).is_ok_and(|mut list| list.next().is_some());
    let names: Vec<_> = COMMON.into_iter().filter(|name| from.join(name).exists()).collect();
    (!used && !names.is_empty()).then_some(Found { from, names })
}

impl Found {
    /// Copies it into what is shared.
    ///
    /// # Errors
    /// When a file cannot be written. What cannot be read is skipped.
    pub fn copy(&self, host: &Host) -> Result<Copied> {
        let shared = host.dirs.guest_home.join("shared");
        private_dir(&host.dirs.guest_home)?;
        private_dir(&shared)?;
        let mut copied = Copied::default();
        for name in &self.names {
            // The first link is the user's way to keep these in a repository of theirs.
            let Ok(from) = self.from.join(name).canonicalize() else { continue };
            match *name {
                "settings.json" => self.settings(&from, &shared.join(name), &mut copied)?,
                _ => copy(&from, &shared.join(name), 0, &mut copied)?,
            }
        }
        Ok(copied)
    }

    fn settings(&self, from: &Path, to: &Path, copied: &mut Copied) -> Result<()> {
        let text = std::fs::read(from).unwrap_or_default();
        let Ok(Value::Object(all)) = serde_json::from_slice(&text) else {
            copied.skipped.push(from.to_path_buf());
            return Ok(());
        };
        let kept = harmless(Value::Object(all), "", &mut copied.settings);
        let text = serde_json::to_vec_pretty(&kept).what(|| format!("cannot write {}", to.display()))?;
        copied.files += 1;
        write_atomic(to, &text, 0o600)
    }
}

/// Settings without those that run programs or hold secrets; the names of these are added to `left_out`.
fn harmless(settings: Value, at: &str, left_out: &mut Vec<String>) -> Value {
    let Value::Object(all) = settings else { return settings };
    let mut kept = serde_json::Map::new();
    for (name, value) in all {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let low = name.to_ascii_lowercase();
        // `apiKeyHelper`, and any other key that opens something; `keybindings` is none.
        let is_key = low.ends_with("key") || low.ends_with("keys");
        if is_key || LEFT_OUT.iter().any(|word| low.contains(word)) {
            left_out.push(path);
            continue;
        }
        kept.insert(name, harmless(value, &path, left_out));
    }
    Value::Object(kept)
}

/// Regular files and directories. Links below are not followed: whatever they lead to was not asked about.
fn copy(from: &Path, to: &Path, depth: usize, copied: &mut Copied) -> Result<()> {
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let secret = name == ".git" || name.starts_with(".env") || name.starts_with(".credentials");
    let meta = std::fs::symlink_metadata(from).ok().filter(|_| !secret && depth <= DEEPEST && copied.files < MOST);
    match meta {
        Some(meta) if meta.is_dir() => {
            private_dir(to)?;
            let mut entries: Vec<_> = std::fs::read_dir(from).into_iter().flatten().flatten().collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            entries.iter().try_for_each(|entry| copy(&entry.path(), &to.join(entry.file_name()), depth + 1, copied))
        }
        Some(meta) if meta.is_file() && meta.len() <= LARGEST => match std::fs::read(from) {
            Ok(bytes) => {
                copied.files += 1;
                // A skill's script stays one.
                let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o700 | 0o400;
                write_atomic(to, &bytes, mode)
            }
            Err(_) => {
                copied.skipped.push(from.to_path_buf());
                Ok(())
            }
        },
        _ => {
            copied.skipped.push(from.to_path_buf());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::host;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn settings_lose_what_runs_or_opens_something() {
        let text = r#"{"model":"opus","hooks":{"Stop":[]},"env":{"A":"b"},"apiKeyHelper":"x","statusLine":{"command":"x"},
            "permissions":{"allow":["Bash(ls)"],"additionalDirectories":["/x"]},"awsAuthRefresh":"x","theme":"light",
            "enabledPlugins":{},"otelHeadersHelper":"x","awsCredentialExport":"x","someKey":1,"editorMode":"vim"}"#;
        let mut left_out = Vec::new();
        let kept = harmless(serde_json::from_str(text).expect("json"), "", &mut left_out);
        let expected = r#"{"model":"opus","permissions":{"allow":["Bash(ls)"]},"theme":"light","editorMode":"vim"}"#;
        assert_eq!(kept, serde_json::from_str::<Value>(expected).expect("json"));
        assert!(
            left_out.contains(&"permissions.additionalDirectories".to_owned()) && left_out.len() == 10,
            "{left_out:?}"
        );
    }

    #[test]
    fn only_what_claude_reads_is_copied_and_no_link_is_followed_below_the_first() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut host = host();
        host.home = dir.path().canonicalize().expect("real");
        host.dirs.guest_home = host.home.join(".vm-claude");
        let write = |name: &str, text: &str| {
            let path = host.home.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
            fs::write(path, text).expect("write");
        };
        assert_eq!(found(&host), None);
        write(".claude/.credentials.json", "SECRET");
        write(".claude/projects/x/y.jsonl", "SECRET");
        assert_eq!(found(&host), None, "nothing for every project");
        write("dotfiles/CLAUDE.md", "mine");
        symlink(host.home.join("dotfiles/CLAUDE.md"), host.home.join(".claude/CLAUDE.md")).expect("ln");
        write(".claude/settings.json", r#"{"theme":"light","env":{"K":"SECRET"}}"#);
        write(".claude/skills/s/SKILL.md", "skill");
        write(".claude/skills/s/.env", "SECRET");
        symlink(host.home.join(".claude/.credentials.json"), host.home.join(".claude/skills/s/link")).expect("ln");
        nix::unistd::mkfifo(&host.home.join(".claude/skills/pipe"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        let all = found(&host).expect("something");
        let copied = all.copy(&host).expect("copied");
        let shared = host.home.join(".vm-claude/shared");
        let read = |name: &str| fs::read_to_string(shared.join(name)).expect(name);
        assert_eq!(read("CLAUDE.md") + &read("skills/s/SKILL.md"), "mineskill");
        assert!(read("settings.json").contains("light") && !read("settings.json").contains("SECRET"));
        assert!(!fs::symlink_metadata(shared.join("CLAUDE.md")).expect("file").is_symlink());
        assert_eq!((copied.files, copied.skipped.len(), copied.settings), (3, 3, vec!["env".to_owned()]));
        assert_eq!(found(&host), None, "only once");
    }
}
