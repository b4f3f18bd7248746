//! A home, a project and an installed vmclaude with the tests' image.

use crate::image;
use crate::wait::until;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// See the module.
pub(crate) struct World(tempfile::TempDir);

impl World {
    pub(crate) fn new() -> World {
        let world = World(tempfile::Builder::new().prefix("vm warm").tempdir().expect("dir"));
        for dir in ["home", "p", "opt/bin"] {
            fs::create_dir_all(world.path(dir)).expect("mkdir");
        }
        fs::copy(env!("CARGO_BIN_EXE_vmclaude"), world.path("opt/bin/vmclaude")).expect("cp");
        symlink("vmclaude", world.path("opt/bin/vmclaude-container")).expect("ln");
        world.configure("");
        image::lend(&world.path("home/.local/share"));
        world
    }

    /// Writes the settings: these, the stand-in for QEMU where there is one, and what is passed on so that copies can be told apart.
    pub(crate) fn configure(&self, settings: &str) {
        let (dir, qemu) = (self.path("home/.config/vmclaude"), self.path("opt/qemu"));
        let qemu = if qemu.exists() { format!("qemu = {qemu:?}\n") } else { String::new() };
        fs::create_dir_all(&dir).expect("mkdir");
        fs::write(dir.join("config.toml"), format!("{qemu}{settings}[env]\npass = ['ME']\n")).expect("write");
    }

    /// Has this script stand in for QEMU.
    pub(crate) fn qemu(&self, script: &str) {
        let file = self.path("opt/qemu");
        fs::write(&file, script).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        self.configure("");
    }

    pub(crate) fn path(&self, rest: &str) -> PathBuf {
        self.0.path().join(rest)
    }

    /// Where templates are.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path("home/.cache/vmclaude/templates")
    }

    /// A shell script in the guest.
    pub(crate) fn run(&self, script: &str) -> Command {
        self.command(&["sh", "-c", script])
    }

    /// A command in the guest.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("opt/bin/vmclaude-container"));
        command.args(words).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path("home"));
        command.env("VMCLAUDE_MEMORY", "700M").env("VMCLAUDE_LOG", "warn").current_dir(self.path("p"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it with its phases on stderr: code, stdout, stderr.
    pub(crate) fn output(&self, script: &str) -> (Option<i32>, String, String) {
        let done = self.run(script).env("VMCLAUDE_PROFILE", "1").output().expect("run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    }

    /// Complete templates.
    pub(crate) fn templates(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.extension().is_none() && !p.ends_with("lock")).collect()
    }

    /// What supervisors of sessions that are over had to say about this.
    pub(crate) fn console_lines(&self, about: &str) -> Vec<String> {
        let ended =
            fs::read_dir(self.path("home/.local/state/vmclaude/ended")).expect("sessions that are over").flatten();
        let read = |e: fs::DirEntry| fs::read(e.path().join("console.log")).unwrap_or_default();
        let text: Vec<u8> = ended.flat_map(read).collect();
        let line = |l: &&str| l.contains("vmclaude-init") && l.contains(about);
        String::from_utf8_lossy(&text).lines().filter(line).map(str::to_owned).collect()
    }

    /// A first run, and the template that comes of it.
    pub(crate) fn make_template(&self) -> PathBuf {
        let (code, _, err) = self.output("true");
        assert_eq!(code, Some(0), "{err}");
        self.await_template();
        self.templates().remove(0)
    }

    pub(crate) fn await_template(&self) {
        until("there is a template", || (!self.templates().is_empty()).then_some(()));
        self.await_makers();
    }

    /// Waits until nobody makes a template any more.
    pub(crate) fn await_makers(&self) {
        until("no maker runs", || self.processes("__template").is_empty().then_some(()));
    }

    /// Processes of this world with this word in an argument. QEMU's arguments name no path, so its makers are known by
    /// their parents' program.
    pub(crate) fn processes(&self, word: &str) -> Vec<i32> {
        let of = |pid: &str| {
            let args = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let has = args.split(|b| *b == 0).any(|a| a.windows(word.len()).any(|w| w == word.as_bytes()));
            let exe = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
            let ours = [exe(pid), exe(&parent)].iter().flatten().any(|exe| exe.starts_with(self.0.path()));
            (has && ours).then(|| pid.parse().ok()).flatten()
        };
        let names = fs::read_dir("/proc").expect("proc").flatten().map(|e| e.file_name());
        names.filter_map(|name| name.to_str().and_then(of)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A maker that a failed test left would write into a directory that is being removed.
        for pid in self.processes("__template") {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}
