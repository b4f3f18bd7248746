//! A small world: a home, a host claude, a vmclaude, an enrolled tree, and nothing of this machine but the tools named here.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The program under test.
pub(crate) const VMCLAUDE: &str = env!("CARGO_BIN_EXE_vmclaude");

const TOOLS: [&str; 25] = [
    "sh", "bash", "zsh", "fish", "env", "cat", "cp", "ls", "grep", "xargs", "make", "mkdir", "mv", "rm", "rmdir",
    "sleep", "ln", "true", "python3", "sed", "head", "kill", "chmod", "date", "seq",
];

/// Other versions of the three, tested where this machine has them (by these names, or in
/// `target/shells`, where `tests/more-shells` puts them).
pub(crate) const OTHERS: [&str; 5] = ["bash-3.2", "bash-5.1", "bash-5.3", "fish-4", "zsh-5.8"];

/// The vmclaude that the shim finds: it says what it was given.
const FAKE_VMCLAUDE: &str = r#"#!/bin/sh
[ "$1" = route ] && [ "$2" = --state ] && [ -f "$3/registry" ] && [ "$4" = -- ] || { echo "BAD CALL: $*"; exit 99; }
shift 4
WHO=VM
"#;
const FAKE: &str = r#"
case ${1-} in
  exit) exit "$2" ;;
  cat) exec cat ;;
  wait) echo "$WHO waits"; exec sleep 1000 ;;
  status) exec grep -E '^(SigIgn|SigBlk|SigCgt)' /proc/self/status ;;
  fds) exec ls /proc/self/fd ;;
esac
printf %s "$WHO"
[ $# -eq 0 ] || printf ' [%s]' "$@"
printf '\n'
"#;

/// See the module.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    _dir: tempfile::TempDir,
}

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl World {
    /// `tr ee` is enrolled; `out` is not. Names with spaces and quotes, so that every unquoted word is found out.
    pub(crate) fn new() -> World {
        build_shim();
        let dir = tempfile::Builder::new().prefix("vm claude's-").tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        let world = World { state: root.join("ho me's/.local/state/vmclaude"), root, _dir: dir };
        for dir in ["ho me's", "tr ee/sub", "tr ee-evil", "out", "bin", "tools", "lib", "x"] {
            std::fs::create_dir_all(world.path(dir)).expect("mkdir");
        }
        symlink(world.path("out"), world.path("tr ee/link-out")).expect("ln");
        symlink(world.path("tr ee/sub"), world.path("link-in")).expect("ln");
        for tool in TOOLS.iter().chain(&OTHERS) {
            if let Some(found) = find(tool) {
                symlink(found, world.path("tools").join(tool)).expect("ln");
            }
        }
        world.program("bin/claude", &format!("#!/bin/sh\nWHO=HOST{FAKE}"));
        world.program("lib/vmclaude", &format!("{FAKE_VMCLAUDE}{FAKE}"));
        let done = world.run(Command::new(VMCLAUDE).arg("enroll").arg(world.path("tr ee")));
        assert_eq!(done.code, 0, "{}", done.err);
        std::fs::write(world.state.join("exe"), format!("{}\n", world.path("lib/vmclaude").display())).expect("write");
        world
    }

    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.root.join(rest)
    }

    pub(crate) fn hook(&self, shell: &str) -> String {
        self.state.join(format!("hook.{shell}")).to_str().expect("text").to_owned()
    }

    pub(crate) fn program(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("write");
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).expect("chmod");
    }

    /// The environment of everything that runs here: `W` the world, `T` the tree, `O` outside, `H` the host's directory.
    pub(crate) fn clean<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let text = |p: PathBuf| p.into_os_string();
        let path = format!("{}:{}", self.path("bin").display(), self.path("tools").display());
        command
            .env_clear()
            .current_dir(self.path("out"))
            .env("PATH", path)
            .env("TERM", "dumb")
            .env("LC_ALL", "C.UTF-8");
        command.env("HOME", self.path("ho me's")).env("W", &self.root).env("T", text(self.path("tr ee")));
        command
            .env("O", text(self.path("out")))
            .env("H", text(self.path("bin")))
            .env("S", &self.state)
            .env("ZDOTDIR", self.path("x"))
    }

    /// Runs a program here to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Done {
        let out = self.clean(command).stdin(Stdio::null()).output().expect("the program starts");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Done { out: text(out.stdout), err: text(out.stderr), code: out.status.code().unwrap_or(-1) }
    }

    /// A shell with its own start files switched off.
    pub(crate) fn shell(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("tools").join(words[0]));
        // zsh wants this one before any other.
        let words = match words.get(1) {
            Some(&"--emulate") => {
                command.args(&words[1..3]);
                [&words[..1], &words[3..]].concat()
            }
            _ => words.to_vec(),
        };
        command.args(match base(words[0]) {
            "zsh" => &["-f"][..],
            "bash" => &["--norc", "--noprofile"],
            "fish" => &["--no-config"],
            _ => &[],
        });
        command.args(&words[1..]);
        command
    }

    /// Runs a script in a shell that has loaded its hook.
    pub(crate) fn script(&self, words: &[&str], script: &str) -> Done {
        let hook = vmclaude::hook::quote(shell_of(base(words[0])), &self.hook(base(words[0])));
        let script = script.replace("%HOOK%", &self.hook(base(words[0])));
        self.run(self.shell(words).arg("-c").arg(format!(". {hook}\n{script}")))
    }

    /// Runs the shim itself in a directory.
    pub(crate) fn shim<S: AsRef<OsStr>>(&self, dir: &str, args: &[S]) -> Done {
        let mut command = Command::new(self.path("tools/sh"));
        command.arg("-c").arg(r#"cd "$W/$0" && exec "$S/shims/claude" "$@""#).arg(dir).args(args);
        self.run(&mut command)
    }
}

/// `bash` for `bash-3.2`.
pub(crate) fn base(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Where the machine has a tool, whatever PATH says.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/shells");
    let dirs = ["/usr/bin", "/bin", "/usr/local/bin", "/opt/homebrew/bin"];
    dirs.iter().map(Path::new).chain([built.as_path()]).map(|dir| dir.join(tool)).find(|path| path.exists())
}

/// Why a shell of another version is not here.
pub(crate) fn why_missing(shell: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/shells").join(format!("{shell}.why"));
    let why = std::fs::read_to_string(file).unwrap_or_else(|_| "tests/more-shells did not run".to_owned());
    why.trim().to_owned()
}

pub(crate) fn shell_of(name: &str) -> vmclaude::hook::Shell {
    *vmclaude::hook::Shell::ALL.iter().find(|s| s.name() == name).expect("one of ours")
}

/// Builds the static shim once, where vmclaude looks for it. The only thing here that sees the machine's environment.
fn build_shim() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build-shim");
        assert!(Command::new(script).status().expect("sh").success(), "tests/build-shim");
    });
}
