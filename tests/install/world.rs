//! A release as somebody downloads it, and a home to install it into.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A release as somebody downloads it, and a home to install it into. Names that need quotes everywhere.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    _dir: tempfile::TempDir,
}

pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

/// Every path with its kind, mode and contents.
pub(crate) type Snapshot = BTreeMap<PathBuf, (String, Vec<u8>)>;

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::Builder::new().prefix("vm claude's-").tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        for name in ["release/shell", "home", "archive/bin", "archive/lib/vmclaude"] {
            std::fs::create_dir_all(root.join(name)).expect("mkdir");
        }
        for name in ["install.sh", "shell/needs.sh", "shell/start-files.sh"] {
            std::fs::copy(Path::new(ROOT).join(name), root.join("release").join(name)).expect("copy");
        }
        std::fs::copy(env!("CARGO_BIN_EXE_vmclaude"), root.join("archive/bin/vmclaude")).expect("copy");
        for name in ["vmclaude-shim", "vmclaude-init"] {
            // Nothing boots here, so the supervisor may be any program.
            std::fs::copy(shim(), root.join("archive/lib/vmclaude").join(name)).expect("copy");
        }
        let world = World { root, _dir: dir };
        let archive = world.root.join(format!("release/vmclaude-linux-{}.tar.gz", std::env::consts::ARCH));
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(archive).arg("-C").arg(world.root.join("archive")).args(["bin", "lib"]);
        assert!(tar.status().expect("tar").success());
        world
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.root.join("home").join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.home(name).parent().expect("a parent")).expect("mkdir");
        std::fs::write(self.home(name), bytes).expect("write");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home(name)).expect(name)).into_owned()
    }

    pub(crate) fn run(&self, words: &[&str]) -> Done {
        self.run_in(&self.root, words)
    }

    pub(crate) fn run_in(&self, dir: &Path, words: &[&str]) -> Done {
        let script = self.root.join("release/install.sh");
        let mut command = Command::new("/bin/sh");
        done(self.clean(command.arg(script).arg("--no-image").args(words)).current_dir(dir))
    }

    pub(crate) fn install(&self) -> Done {
        let done = self.run(&[]);
        assert_eq!(done.code, 0, "{}{}", done.out, done.err);
        done
    }

    #[allow(clippy::disallowed_methods)] // the system's own PATH: shells and tools are to be found
    pub(crate) fn clean<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let path = std::env::var_os("PATH").expect("PATH");
        command.env_clear().env("PATH", path).env("HOME", self.home("")).current_dir(&self.root).stdin(Stdio::null())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut found = Snapshot::new();
        look(&self.root.join("home"), &mut found);
        found
    }
}

pub(crate) fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        assert!(Command::new(Path::new(ROOT).join("tests/build-shim")).status().expect("sh").success());
        let bin = Path::new(env!("CARGO_BIN_EXE_vmclaude")).parent().expect("a directory");
        bin.with_file_name("lib").join("vmclaude/vmclaude-shim")
    })
}

pub(crate) fn look(dir: &Path, into: &mut Snapshot) {
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        let (path, meta) = (entry.path(), entry.path().symlink_metadata().expect("there"));
        let kind = format!("{:?} {:o}", meta.file_type(), meta.mode());
        let bytes = match (meta.is_symlink(), meta.is_file()) {
            (true, _) => std::fs::read_link(&path).expect("link").into_os_string().into_encoded_bytes(),
            (_, true) => std::fs::read(&path).expect("readable"),
            _ => Vec::new(),
        };
        if meta.is_dir() {
            look(&path, into);
        }
        into.insert(path, (kind, bytes));
    }
}

pub(crate) fn done(command: &mut Command) -> Done {
    let out = command.output().expect("starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Done { out: text(out.stdout), err: text(out.stderr), code: out.status.code().unwrap_or(-1) }
}

/// A home as people have them: a link, no newline at the end, bytes that are not text, an empty file, an odd mode.
pub(crate) fn lived_in() -> World {
    let world = World::new();
    world.write(".bashrc", b"alias ll='ls -l'");
    world.write(".profile", b"# caf\xe9\n. ~/.bashrc\n");
    world.write(".zshenv", b"");
    world.write("dotfiles/zshrc", b"setopt autocd\n");
    symlink("dotfiles/zshrc", world.home(".zshrc")).expect("ln");
    std::fs::set_permissions(world.home(".profile"), PermissionsExt::from_mode(0o640)).expect("chmod");
    world
}
