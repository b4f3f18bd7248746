//! Why nothing runs, in words for a person.

use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a file that we must be able to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// It was there and is gone.
    Missing,
    /// It belongs to somebody else.
    Owner {
        /// Whose it is.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// Others may write it; the mode.
    Mode(u32),
    /// It cannot be read; the system's reason.
    Unreadable(String),
    /// A version that we do not know.
    Version,
    /// Its end, or its beginning, is missing.
    Cut,
    /// Its contents are not what was written.
    Checksum,
    /// A line is not one of ours.
    Line,
}

/// Why `claude` runs neither in a VM nor on the host. Always exit 78.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The registry, or the directory that it lies in, cannot be trusted.
    Registry {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// At an enrolled path there is another directory now.
    Replaced {
        /// That path.
        root: PathBuf,
    },
    /// A link led out of an enrolled tree.
    LedOut {
        /// What the shell calls this directory.
        logical: PathBuf,
        /// What it is.
        physical: PathBuf,
    },
    /// The current directory was deleted, or its path cannot be found out.
    NoDirectory,
    /// A directory on the way up cannot be looked at, so it may be an enrolled one.
    Unknown {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        error: String,
    },
    /// `--add-dir` names a directory in an enrolled tree.
    AddDir {
        /// The directory as it was given.
        dir: PathBuf,
        /// The tree.
        root: PathBuf,
    },
    /// The shim is not where enrollment put it, so it does not know which registry is its own.
    Misplaced {
        /// Where it is.
        path: PathBuf,
    },
}

/// A refusal in three parts: what happened, why, and the next command to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// What happened.
    pub what: String,
    /// Why.
    pub because: String,
    /// What to type.
    pub next: String,
}

impl Refusal {
    /// The exit code of every refusal (EX_CONFIG of sysexits.h).
    pub const EXIT: u8 = 78;

    /// The refusal in words.
    pub fn words(&self) -> Words {
        let (what, because, next) = match self {
            Refusal::Registry { path, damage } => (
                format!("refusing to run claude: {} cannot be trusted", shown(path)),
                damage.to_string(),
                mend(path, damage),
            ),
            Refusal::Replaced { root } => (
                format!("refusing to run claude: {} is not the directory that was enrolled", shown(root)),
                "another directory has taken its place (deleted and made again, restored or exchanged)".to_owned(),
                format!("vmclaude enroll {0} (to run it in a VM), or vmclaude unenroll {0}", word(root)),
            ),
            Refusal::LedOut { logical, physical } => (
                "refusing to run claude: a link led out of an enrolled tree".to_owned(),
                format!("you see {} and it really is {}, which no VM would show", shown(logical), shown(physical)),
                format!("cd {} (to run claude on the host there)", word(physical)),
            ),
            Refusal::NoDirectory => (
                "refusing to run claude: the current directory does not exist any more".to_owned(),
                "it may have been enrolled".to_owned(),
                "cd to a directory that exists".to_owned(),
            ),
            Refusal::Unknown { path, error } => (
                format!("refusing to run claude: cannot tell whether {} is enrolled", shown(path)),
                error.clone(),
                format!("ls -ld {}", word(path)),
            ),
            Refusal::AddDir { dir, root } => (
                format!("refusing to run claude on the host with --add-dir {}", shown(dir)),
                format!("it lies in {}, which is enrolled: claude must only see it from inside a VM", shown(root)),
                format!("cd {} && claude", word(root)),
            ),
            Refusal::Misplaced { path } => (
                format!("refusing to run claude: {} is not in its place", shown(path)),
                "it finds the list of enrolled directories beside itself (…/vmclaude/shims/claude)".to_owned(),
                format!("rm {}", word(path)),
            ),
        };
        Words { what, because, next }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words();
        write!(f, "vmclaude: {}\n  because {}\n  try: {}", words.what, words.because, words.next)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Missing => write!(f, "it is missing"),
            Damage::Owner { owner, me } => write!(f, "it belongs to user {owner} and you are user {me}"),
            Damage::Mode(mode) => write!(f, "others may write it: its mode is {mode:04o}"),
            Damage::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Damage::Version => write!(f, "it was written by another version of vmclaude"),
            Damage::Cut => write!(f, "its beginning or its end is missing"),
            Damage::Checksum => write!(f, "its contents are not what vmclaude wrote"),
            Damage::Line => write!(f, "it holds a line that vmclaude did not write"),
        }
    }
}

fn mend(path: &Path, damage: &Damage) -> String {
    let path = word(path);
    match damage {
        Damage::Owner { owner, me } => {
            format!("claude as user {owner}, or sudo chown {me} {path} if it should be yours")
        }
        Damage::Mode(_) => format!("chmod go-w {path}"),
        Damage::Missing => "vmclaude enroll DIR, for every directory that shall be enrolled".to_owned(),
        Damage::Version => "the newer vmclaude".to_owned(),
        Damage::Unreadable(_) => format!("ls -ld {path}"),
        Damage::Cut | Damage::Checksum | Damage::Line => {
            format!("mv {path} {path}.damaged, then vmclaude enroll DIR for every directory that it names")
        }
    }
}

/// A path for a person's eyes: a directory's name must not move the cursor.
pub fn shown(path: &Path) -> String {
    crate::clean(&path.to_string_lossy())
}

/// A path as a word for a shell.
fn word(path: &Path) -> String {
    let text = shown(path);
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
