//! The facts about this machine and this process, read once. Everything else takes them as values.

mod zone;

use crate::error::{Failure, Result};
use nix::sys::stat::Mode;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

pub use zone::FILE as ZONE_FILE;

/// Which program we were started as (the last component of `argv[0]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// `vmclaude`: verbs of ours, anything else goes to Claude.
    Vmclaude,
    /// `vmclaude-container`: any command in the VM.
    Container,
}

/// Directories that are ours. All absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// Registry, shims, hook files, records of running sessions: private, outside every tree.
    pub state: PathBuf,
    /// Images: large, rebuilt by `vmclaude image build`.
    pub data: PathBuf,
    /// `config.toml`.
    pub config: PathBuf,
    /// What may be deleted at any time: downloads, verdicts about KVM.
    pub cache: PathBuf,
    /// The guest's home, `~/.vm-claude`.
    pub guest_home: PathBuf,
}

/// The facts. Built by [`Host::capture`] once in `main`, by hand in tests.
#[derive(Debug, Clone)]
pub struct Host {
    /// Which of our names we were started as.
    pub name: Name,
    /// Arguments after `argv[0]`.
    pub args: Vec<OsString>,
    /// The environment.
    pub env: BTreeMap<OsString, OsString>,
    /// The physical current directory; `None` when it was deleted or cannot be read.
    pub cwd: Option<PathBuf>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// The mode bits that new files do not get.
    pub umask: u32,
    /// The user's home directory.
    pub home: PathBuf,
    /// This program's own file.
    pub exe: PathBuf,
    /// Whether stdin, stdout and stderr are terminals.
    pub tty: [bool; 3],
    /// Whether they were closed.
    pub closed: [bool; 3],
    /// Processors that this process may use.
    pub cores: u32,
    /// Main memory in bytes.
    pub memory: u64,
    /// The system's time zone as a value of `TZ`; `None`: it has none, which is UTC.
    pub zone: Option<String>,
    /// Directories that are ours.
    pub dirs: Dirs,
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

impl Host {
    /// Whether there is a person to ask: questions go to stderr, answers come from stdin.
    pub fn can_ask(&self) -> bool {
        self.tty[0] && self.tty[2]
    }

    /// Reads the facts from the process and the system.
    ///
    /// # Errors
    /// When there is no home directory or no path to our own program.
    #[allow(clippy::disallowed_methods)] // the one place that may
    pub fn capture() -> Result<Host> {
        let mut args = std::env::args_os();
        let name = match args.next().as_deref().map(Path::new).and_then(Path::file_name) {
            Some(n) if n == OsStr::new("vmclaude-container") => Name::Container,
            _ => Name::Vmclaude,
        };
        let home = directories::BaseDirs::new()
            .map(|b| b.home_dir().to_path_buf())
            .filter(|home| home.is_absolute())
            .ok_or_else(no_home)?;
        let exe = std::env::current_exe().map_err(|e| Failure::new("cannot find my own program file").because(e))?;
        Ok(Host {
            name,
            args: args.collect(),
            env: std::env::vars_os().collect(),
            cwd: std::env::current_dir().ok(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            umask: umask(),
            exe,
            tty: [std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal()],
            closed: crate::closed::at_start(),
            cores: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)),
            memory: memory(),
            zone: zone::of(Path::new(ZONE_FILE)),
            dirs: Dirs::of(&home)?,
            home,
        })
    }

    /// A variable as text; `None` when unset or not UTF-8.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env.get(OsStr::new(name)).and_then(|v| v.to_str())
    }

    /// Where the files lie that are installed with this program: `<prefix>/lib/vmclaude` beside `<prefix>/bin/vmclaude`.
    pub fn helpers(&self) -> PathBuf {
        self.exe.parent().and_then(Path::parent).unwrap_or(Path::new("/")).join("lib/vmclaude")
    }

    /// A file that is installed with this program.
    ///
    /// # Errors
    /// When it is not there.
    pub fn helper(&self, name: &str) -> Result<PathBuf> {
        let file = self.helpers().join(name);
        match file.is_file() {
            true => Ok(file),
            false => Err(Failure::new("vmclaude is not installed completely")
                .because(format!("there is no {}", file.display()))
                .next("./install.sh   # in vmclaude's sources")),
        }
    }

    /// Whatever the umask is, its user has every right to what this process and those that it starts make from now on. (A command in
    /// a VM has the umask that was given.)
    pub fn keep_own_rights(&self) {
        let mask = Mode::from_bits_truncate(self.umask as nix::libc::mode_t) - Mode::S_IRWXU;
        nix::sys::stat::umask(mask);
    }
}

impl Dirs {
    fn of(home: &Path) -> Result<Dirs> {
        let base = directories::ProjectDirs::from("", "", "vmclaude").ok_or_else(no_home)?;
        let data = base.data_dir().to_path_buf();
        Ok(Dirs {
            // macOS has no state directory of its own.
            state: base.state_dir().map_or_else(|| data.join("state"), Path::to_path_buf),
            config: base.config_dir().to_path_buf(),
            cache: base.cache_dir().to_path_buf(),
            guest_home: home.join(".vm-claude"),
            data,
        })
    }

    /// The user's settings.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// One directory per running session.
    pub fn runs(&self) -> PathBuf {
        self.state.join("run")
    }

    /// One directory per built image.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }
}

/// The first argument, for who cannot capture the rest.
#[allow(clippy::disallowed_methods)] // as in `capture`
pub fn first_word() -> Option<OsString> {
    std::env::args_os().nth(1)
}

/// The mask can only be read by setting it; no other thread runs yet.
#[allow(clippy::useless_conversion)] // macOS has 16 bits for it
fn umask() -> u32 {
    let mask = nix::sys::stat::umask(Mode::empty());
    nix::sys::stat::umask(mask);
    mask.bits().into()
}

fn no_home() -> Failure {
    Failure::new("cannot find your home directory")
        .because("HOME is no absolute path, or unset and you are in no list of users")
        .next("export HOME=/path/to/your/home")
}

#[cfg(target_os = "linux")]
fn memory() -> u64 {
    meminfo("MemTotal:").unwrap_or(4 << 30)
}

/// Memory that programs can have now without anybody being swapped out, in bytes; `None` where the system does not say.
/// A fact of the moment, so it is no part of [`Host`].
#[cfg(target_os = "linux")]
pub fn available_memory() -> Option<u64> {
    meminfo("MemAvailable:")
}

/// See above.
#[cfg(not(target_os = "linux"))]
pub fn available_memory() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?;
    Some(kib.parse::<u64>().ok()? << 10)
}

#[cfg(target_os = "macos")]
fn memory() -> u64 {
    let mut bytes = 0u64;
    let mut len = size_of::<u64>();
    // SAFETY: the name is a C string, the buffer is a u64 of the length that `len` says.
    let rc = unsafe {
        libc::sysctlbyname(c"hw.memsize".as_ptr(), (&raw mut bytes).cast(), &raw mut len, std::ptr::null_mut(), 0)
    };
    if rc == 0 { bytes } else { 4 << 30 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host made of values.
    pub(crate) fn host() -> Host {
        let home = PathBuf::from("/home/you");
        Host {
            name: Name::Vmclaude,
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: Some("/home/you/shop".into()),
            uid: 1000,
            gid: 1000,
            umask: 0o022,
            exe: "/usr/bin/vmclaude".into(),
            tty: [false; 3],
            closed: [false; 3],
            cores: 2,
            memory: 24 << 30,
            zone: None,
            dirs: Dirs {
                state: home.join(".local/state/vmclaude"),
                data: home.join(".local/share/vmclaude"),
                config: home.join(".config/vmclaude"),
                cache: home.join(".cache/vmclaude"),
                guest_home: home.join(".vm-claude"),
            },
            home,
        }
    }
}
