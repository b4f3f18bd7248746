//! A real virtual machine for a container: that of the Linux engine, with the double's guest as its first process.

use crate::state::State;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vmclaude::engine::launch::{FIRST_FD, Program, Source};
use vmclaude::engine::qemu::{self, Accel, Files, Life, Machine as Qemu, SHARE_SOCKET};
use vmclaude::engine::share;
use vmclaude::plan::{Limits, Mount, Network, Plan, Setup, User, Watch};

const QEMU: [&str; 2] = ["/usr/bin", "/usr/local/bin"];

/// QEMU and the share server; they die with us.
pub(crate) struct Machine {
    qemu: Child,
    share: Option<Child>,
    pub(crate) wire: Option<UnixStream>,
    control: UnixStream,
}

impl Machine {
    /// The machine's processors and its clock stand still, as while the host sleeps.
    pub(crate) fn sleep(&mut self) -> io::Result<()> {
        self.order("stop")
    }

    /// They go on.
    pub(crate) fn wake(&mut self) -> io::Result<()> {
        self.order("cont")
    }

    fn order(&mut self, word: &str) -> io::Result<()> {
        for word in ["qmp_capabilities", word] {
            writeln!(self.control, "{{\"execute\":\"{word}\"}}")?;
        }
        let mut answers = BufReader::new(self.control.try_clone()?).lines();
        let mut answered = 0;
        while answered < 2 {
            let line = answers.next().ok_or(io::ErrorKind::UnexpectedEof)??;
            answered += usize::from(line.contains("\"return\"") || line.contains("\"error\""));
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill().and_then(|()| self.qemu.wait());
        // It ends when its machine has hung up; one that nobody ever called waits for ever.
        if let Some(share) = &mut self.share {
            let end = Instant::now() + Duration::from_secs(1);
            while matches!(share.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = share.kill().and_then(|()| share.wait());
        }
    }
}

/// Starts one with these directories: (name in the share, source, read-only). `dir` is the container's.
#[allow(clippy::disallowed_methods)] // Host is for the program under test
pub(crate) fn start(
    state: &State,
    dir: &Path,
    memory: u64,
    shared: &[(String, PathBuf, bool)],
    volume: Option<&Path>,
) -> io::Result<Machine> {
    let plan = plan(memory, shared);
    let own = std::env::current_exe()?;
    let image = state.home.join(".local/share/vmclaude/images/current");
    let file = |name: &str| image.join(name);
    let initrd = archive(&file("initrd.cpio"), own.parent().unwrap_or(Path::new("/")), dir)?;
    let files = Files {
        kernel: file("vmlinux"),
        initrd,
        base: file("base.erofs"),
        claude: file("claude.erofs"),
        scratch: file("scratch.ext4"),
    };
    let name = format!("qemu-system-{}", std::env::consts::ARCH);
    let qemu = QEMU.iter().map(|d| Path::new(d).join(&name)).find(|p| p.is_file()).ok_or(io::ErrorKind::NotFound)?;
    let machine = Qemu { qemu, accel: Accel::Tcg, cores: 1, files };
    let server = share::program(&own, &plan);
    let life = if server.is_some() { Life::Boot } else { Life::Trial };
    let listener = server.as_ref().map(|_| listen(dir)).transpose()?;
    let (wire, far) = UnixStream::pair()?;
    let (control, controlled) = UnixStream::pair()?;
    let place = Place { dir, far: &far, controlled: &controlled, listener: listener.as_ref() };
    let mut program = qemu::program(&machine, &plan.limits, life, volume);
    let fd = program.inherit_fd(Source::Control);
    let mode = [format!("socket,id=host,fd={fd}"), "chardev=host,mode=control".to_owned()];
    program.args.extend(["-chardev", &mode[0], "-mon", &mode[1]].map(Into::into));
    let qemu = spawn(&program, &place, Stdio::null())?;
    let share = match &server {
        Some(program) => {
            let (read, mut write) = io::pipe()?;
            let child = spawn(program, &place, read.into())?;
            let dirs: Vec<i32> = (FIRST_FD + 1..).take(plan.mounts.len()).collect();
            let config = vmclaude::share::Config::new(&plan, &dirs, FIRST_FD, -1, std::process::id());
            let config = config.map_err(|e| io::Error::other(e.to_string()))?;
            write.write_all(&serde_json::to_vec(&config)?)?;
            Some(child)
        }
        None => None,
    };
    Ok(Machine { qemu, share, wire: Some(wire), control })
}

/// The guest's user sees the files as his own, as each user does on Apple's. (That root sees them as root's is not so here.)
fn plan(memory: u64, shared: &[(String, PathBuf, bool)]) -> Plan {
    let mount = |(tag, host, read_only): &(String, PathBuf, bool)| Mount {
        host: host.clone(),
        guest: "/".into(),
        tag: tag.clone(),
        writable: !read_only,
        coherent: false,
        identity: None,
    };
    let ids = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = if ids.0 == 0 { (1000, 1000) } else { ids };
    Plan {
        watch: Watch { enabled: false, ignore: Vec::new() },
        argv: Vec::new(),
        cwd: "/".into(),
        mounts: shared.iter().map(mount).collect(),
        local: None,
        links: Vec::new(),
        env: Vec::new(),
        user: User { uid, gid },
        limits: Limits { cpus: Some(1), memory: memory >> 20 },
        network: Network::default(),
        setup: Setup::default(),
        ports: Vec::new(),
        protected: Vec::new(),
        clipboard: vmclaude::screen::Clipboard::Deny,
    }
}

/// The image's own archive, and behind it one in which the double's guest is `init`: the last file of a name wins.
fn archive(from: &Path, own: &Path, dir: &Path) -> io::Result<PathBuf> {
    let to = dir.join("initrd");
    let mut all = fs::read(from)?;
    all.resize(all.len().next_multiple_of(4), 0);
    let guest = fs::read(own.join("vmclaude-apple-guest"))?;
    let supervisor = fs::read(own.join("vmclaude-init"))?;
    for (name, mode, data) in
        [("init", 0o100_755, &guest[..]), ("supervisor", 0o100_755, &supervisor), ("TRAILER!!!", 0, b"")]
    {
        let fields = [1, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        all.extend(b"070701");
        fields.iter().for_each(|n| all.extend(format!("{n:08X}").bytes()));
        all.extend(name.bytes().chain([0]));
        all.resize(all.len().next_multiple_of(4), 0);
        all.extend(data);
        all.resize(all.len().next_multiple_of(4), 0);
    }
    fs::write(&to, all)?;
    Ok(to)
}

/// Through a descriptor, because a socket's own path may have 107 bytes only.
fn listen(dir: &Path) -> io::Result<UnixListener> {
    let opened = File::open(dir)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{SHARE_SOCKET}", opened.as_raw_fd()))
}

struct Place<'a> {
    dir: &'a Path,
    far: &'a UnixStream,
    controlled: &'a UnixStream,
    listener: Option<&'a UnixListener>,
}

fn spawn(program: &Program, place: &Place<'_>, stdin: Stdio) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(place.dir.join("helper.log"))?;
    let opened: Vec<OwnedFd> = program.fds.iter().map(|source| open(source, place)).collect::<io::Result<_>>()?;
    // Out of the way of the numbers that the arguments name.
    let moved: Vec<(i32, i32)> = (FIRST_FD..).zip(&opened).map(|(to, fd)| (fd.as_raw_fd(), to)).collect();
    let parent = nix::unistd::getpid();
    let mut command = Command::new(&program.path);
    command.args(&program.args).env_clear().stdin(stdin).stdout(log.try_clone()?).stderr(log).current_dir("/");
    let setup = move || -> io::Result<()> {
        nix::unistd::setsid()?;
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        if nix::unistd::getppid() != parent {
            return Err(io::ErrorKind::NotConnected.into());
        }
        for (from, to) in &moved {
            // SAFETY: takes numbers; the descriptors are open in the child as well.
            nix::errno::Errno::result(unsafe { libc::dup2(*from, *to) })?;
        }
        Ok(())
    };
    // SAFETY: only system calls between fork and exec.
    unsafe { command.pre_exec(setup) };
    command.spawn()
}

fn open(source: &Source, place: &Place<'_>) -> io::Result<OwnedFd> {
    Ok(match source {
        Source::Wire => place.far.try_clone()?.into(),
        Source::File(path) => File::open(path)?.into(),
        // The system's share tells of nothing.
        Source::ShareEvents => return Err(io::ErrorKind::Unsupported.into()),
        Source::RunDir => File::open(place.dir)?.into(),
        Source::Dir(path, _) => {
            File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)?.into()
        }
        Source::Memory(mib) => {
            let file = File::from(memfd_create(c"container", MFdFlags::MFD_CLOEXEC)?);
            file.set_len(mib << 20)?;
            file.into()
        }
        Source::Scratch(path) => {
            let copy = place.dir.join("rootfs.ext4");
            let copied = Command::new("cp").arg("--sparse=always").arg(path).arg(&copy).status()?;
            if !copied.success() {
                return Err(io::Error::other("no root file system"));
            }
            let file = File::options().read(true).write(true).open(&copy)?;
            fs::remove_file(copy)?;
            file.into()
        }
        Source::ShareListener => place.listener.ok_or(io::ErrorKind::InvalidInput)?.try_clone()?.into(),
        Source::Control => place.controlled.try_clone()?.into(),
        Source::Volume(path) => {
            let file = File::options().read(true).write(true).open(path)?;
            // Held by the machine's process with the descriptor: no second machine has it while that lives.
            // SAFETY: takes a number of a descriptor that is open.
            if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
                return Err(io::Error::other("The storage device attachment is invalid."));
            }
            file.into()
        }
    })
}
