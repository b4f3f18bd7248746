//! A home, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// See the module.
pub(crate) struct Home {
    pub(crate) root: PathBuf,
    _dir: tempfile::TempDir,
}

/// What a finished program left.
pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Home {
    pub(crate) fn new() -> Home {
        static SHIM: OnceLock<()> = OnceLock::new();
        SHIM.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build-shim");
            assert!(Command::new(script).status().expect("sh").success(), "tests/build-shim");
        });
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        std::fs::create_dir(root.join("home")).expect("mkdir");
        Home { root, _dir: dir }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.join(name);
        std::fs::create_dir_all(&dir).expect("mkdir");
        dir
    }

    pub(crate) fn command(&self, dir: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmclaude"));
        command.args(words).current_dir(dir).env_clear().stdin(Stdio::null());
        command.env("HOME", self.root.join("home")).env("PATH", "/nowhere").env("SHELL", "/bin/bash");
        command
    }

    pub(crate) fn run(&self, dir: &Path, words: &[&str]) -> Done {
        done(&mut self.command(dir, words))
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("home/.local/state/vmclaude")
    }
}

pub(crate) fn done(command: &mut Command) -> Done {
    let out = command.output().expect("starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { out: text(out.stdout), err: text(out.stderr), code: out.status.code().unwrap_or(-1) }
}
