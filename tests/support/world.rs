//! A hermetic world: a home, a project, a host claude, an installed vmclaude, an image, and nothing else of this machine.

use super::program::{Done, Limited, Live};
use super::{apple, image, leaks};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the fake host claude prints first.
pub(crate) const HOST_MARK: &str = "HOST CLAUDE";

/// Who runs vmclaude.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Who runs the tests.
    Current,
    /// A user without a name, a password or a right: where the tests run as root.
    Ordinary,
}

impl Who {
    /// Everybody that can be had here.
    pub(crate) fn all() -> &'static [Who] {
        if nix::unistd::geteuid().is_root() { &[Who::Current, Who::Ordinary] } else { &[Who::Current] }
    }

    /// The one of the two with this number, where there are two.
    pub(crate) fn nth(n: usize) -> Who {
        Who::all()[n % Who::all().len()]
    }

    /// The ids on the host.
    pub(crate) fn ids(self) -> (u32, u32) {
        match self {
            Who::Current => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
            Who::Ordinary => (1500, 1500),
        }
    }

    /// The user id in the guest.
    pub(crate) fn guest_uid(self) -> u32 {
        match self.ids().0 {
            0 => 1000,
            uid => uid,
        }
    }
}

/// What carries the VMs of a world's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// QEMU.
    Qemu,
    /// The driver for Apple's `container`, and the double in its place.
    Apple,
}

impl Engine {
    /// The one that this run of the tests is about: `VMCLAUDE_TEST_ENGINE=apple` or QEMU.
    #[allow(clippy::disallowed_methods)] // Host is for the program
    pub(crate) fn of_this_run() -> Engine {
        match std::env::var_os("VMCLAUDE_TEST_ENGINE").is_some_and(|name| name == "apple") {
            true => Engine::Apple,
            false => Engine::Qemu,
        }
    }
}

/// See the module. Its name has a space, a quote and a comma, so that whatever is not quoted is found out.
pub(crate) struct World {
    pub(crate) root: PathBuf,
    pub(crate) who: Who,
    pub(crate) engine: Engine,
    _dir: tempfile::TempDir,
}

impl World {
    /// A world with everything, the image included.
    pub(crate) fn new(who: Who) -> World {
        World::with(who, Engine::of_this_run())
    }

    /// A world with everything, for this engine.
    pub(crate) fn with(who: Who, engine: Engine) -> World {
        let world = World::bare_with(who, engine);
        image::lend(&world.path("home/.local/share"));
        image::lend_verdict(&world.path("home/.cache"));
        if engine == Engine::Apple {
            apple::install_image(&world);
        }
        world.give("home");
        world
    }

    /// A world without an image: nothing can boot.
    pub(crate) fn bare(who: Who) -> World {
        World::bare_with(who, Engine::of_this_run())
    }

    fn bare_with(who: Who, engine: Engine) -> World {
        let dir = tempfile::Builder::new().prefix("vm e2e's,").tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        let world = World { root, who, engine, _dir: dir };
        fs::set_permissions(&world.root, PermissionsExt::from_mode(0o755)).expect("chmod");
        for dir in ["home", "p/sub", "out", "bin", "opt/bin", "opt/lib/vmclaude"] {
            fs::create_dir_all(world.path(dir)).expect("mkdir");
        }
        fs::copy(env!("CARGO_BIN_EXE_vmclaude"), world.path("opt/bin/vmclaude")).expect("cp");
        symlink("vmclaude", world.path("opt/bin/vmclaude-container")).expect("ln");
        for helper in ["vmclaude-shim", "vmclaude-init"] {
            let from = image::target().join("lib/vmclaude").join(helper);
            fs::copy(&from, world.path("opt/lib/vmclaude").join(helper))
                .unwrap_or_else(|e| panic!("{}: {e} (tests/run builds it)", from.display()));
        }
        if engine == Engine::Apple {
            apple::install(&world);
            world.configure("");
        }
        let fake = format!("#!/bin/sh\necho '{HOST_MARK}'\nfor a; do printf '[%s]' \"$a\"; done\nexit 42\n");
        world.program("bin/claude", &fake);
        world.give("");
        world
    }

    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.root.join(rest)
    }

    /// Where the registry, the hooks and the running sessions are.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("home/.local/state/vmclaude")
    }

    /// What guests keep.
    pub(crate) fn guest_home(&self) -> PathBuf {
        self.path("home/.vm-claude")
    }

    /// What the guests of this project keep: the one whose path was noted.
    #[track_caller]
    pub(crate) fn kept(&self, project: &str) -> PathBuf {
        let noted = format!("{}\n", self.path(project).display());
        let all = fs::read_dir(self.guest_home().join("projects")).expect("projects").flatten();
        let here = |dir: &PathBuf| fs::read_to_string(dir.join("path")).is_ok_and(|path| path == noted);
        all.map(|entry| entry.path()).find(here).unwrap_or_else(|| panic!("nothing is kept for {project}"))
    }

    /// Writes a file of the user's.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(&path, text).expect("write");
        self.give(name.split('/').next().expect("a name"));
        path
    }

    /// Writes a program.
    pub(crate) fn program(&self, name: &str, text: &str) {
        let path = self.write(name, text);
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }

    /// Gives everything below `name` to the world's user.
    pub(crate) fn give(&self, name: &str) {
        if self.who == Who::Ordinary {
            give(&self.path(name), self.who.ids());
        }
    }

    /// Writes `config.toml`; what makes the engine this world's stays.
    pub(crate) fn configure(&self, text: &str) {
        let engine = match self.engine {
            Engine::Qemu => String::new(),
            Engine::Apple => apple::configuration(self),
        };
        self.write("home/.config/vmclaude/config.toml", engine + text);
    }

    /// A program as this world's user, in the project, with a small environment.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.path("home")).env("LC_ALL", "C.UTF-8");
        command.env("TERM", "xterm-256color").current_dir(self.path("p"));
        // A template's maker outlives the run that starts it, and here everything that is left is a fault.
        command.env("VMCLAUDE_WARM_START", "0");
        if self.who == Who::Ordinary {
            let (uid, gid) = self.who.ids();
            command.uid(uid).gid(gid);
        }
        command
    }

    /// `vmclaude-container` with a command for the guest.
    pub(crate) fn vm<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        let mut command = self.command(self.path("opt/bin/vmclaude-container"));
        command.args(argv);
        command
    }

    /// `vmclaude` with a verb.
    pub(crate) fn vmclaude<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = self.command(self.path("opt/bin/vmclaude"));
        command.args(words);
        command
    }

    /// Runs a command in the guest to its end, and looks for leftovers.
    #[track_caller]
    pub(crate) fn in_vm<S: AsRef<OsStr>>(&self, argv: &[S]) -> Done {
        let done = self.vm(argv).done();
        self.assert_clean();
        done
    }

    /// Starts a command in the guest and waits for the file `ready` in the project, which it makes.
    #[track_caller]
    pub(crate) fn start(&self, script: &str) -> Live {
        let ready = self.path("p/ready");
        let _ = fs::remove_file(&ready);
        let mut live = self.vm(&["bash", "-c", script]).live();
        super::until("the guest is ready", || {
            assert!(!live.has_ended(), "it ended before it was ready: {:?}", live.end());
            ready.exists().then_some(())
        });
        live
    }

    /// Enrolls the project.
    pub(crate) fn enroll(&self) {
        let done = self.vmclaude(&["enroll"]).done();
        assert_eq!(done.code(), Some(0), "{done:?}");
    }

    /// Nothing of a session is left: no process, mount, socket, or file of a run.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        if self.engine == Engine::Apple {
            // The service removes a container after its client has ended.
            apple::settle(self);
        }
        let left = leaks::find(self);
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

fn give(path: &Path, (uid, gid): (u32, u32)) {
    let meta = path.symlink_metadata().expect("a file of the world");
    // The image's files are other worlds' too.
    if !meta.is_symlink() && (meta.is_dir() || std::os::unix::fs::MetadataExt::nlink(&meta) == 1) {
        chown(path, Some(uid), Some(gid)).expect("chown");
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("list").flatten() {
            give(&entry.path(), (uid, gid));
        }
    }
}
