//! From the kernel's hand-over to a usable root, before the host has said anything: nothing here depends on a user.

use crate::sys::{at, load_module, log, loopback_up, make_dir, mount_on};
use nix::mount::MsFlags;
use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// The virtio-serial port that is the wire; the host names it so.
const PORT: &str = "vmclaude.wire";

/// What is mounted before the root is switched: (type, where, flags, options).
const EARLY: [(&str, &str, MsFlags, &str); 3] = [
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    ("proc", "/proc", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), ""),
    ("sysfs", "/sys", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), ""),
];

/// What is mounted in the new root.
const LATE: [(&str, &str, MsFlags, &str); 4] = [
    ("devpts", "/dev/pts", MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC), "mode=620,ptmxmode=666,gid=5"),
    ("tmpfs", "/dev/shm", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV), "mode=1777"),
    ("tmpfs", "/run", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV), "mode=0755"),
    ("cgroup2", "/sys/fs/cgroup", MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC), ""),
];

/// The kernel's modules, and their order of loading.
const MODULES: &str = "/modules";

/// The word on the kernel's command line by which it boots with one processor.
const ONE_AT_FIRST: &str = "maxcpus=1";

/// Whether we were started by the kernel of a machine that is all ours.
pub(crate) fn is_machine() -> bool {
    Path::new(MODULES).is_dir()
}

/// Whether the host asks for something by a word on the kernel's command line.
pub(crate) fn is_asked(word: &str) -> bool {
    std::fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_whitespace().any(|one| one == word))
}

/// Mounts, loads the modules and assembles the root.
pub(crate) fn prepare() -> io::Result<()> {
    for (kind, target, flags, data) in EARLY {
        mount_on(kind, Path::new(target), kind, flags, data)?;
    }
    load_modules(Path::new(MODULES))?;
    std::fs::remove_dir_all(MODULES)?; // It is memory.
    switch_root()?;
    for (kind, target, flags, data) in LATE {
        mount_on(kind, Path::new(target), kind, flags, data)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, Path::new("/dev").join(name))?;
    }
    bound_dirty()?;
    loopback_up()
}

/// What waits in memory to be written has its place on a disk already, and comes there however full the host's is (see
/// [`crate::setup::hold_disk`]): it must be less than what the host keeps back. By default it is a share of the memory.
fn bound_dirty() -> io::Result<()> {
    for (name, bytes) in [("dirty_background_bytes", 32_u64 << 20), ("dirty_bytes", 64 << 20)] {
        let path = Path::new("/proc/sys/vm").join(name);
        std::fs::write(&path, bytes.to_string()).map_err(|e| at("cannot write", &path, e))?;
    }
    Ok(())
}

/// Starts the processors that the host told the kernel to leave alone while it boots: they would be in danger until everything is
/// plugged in (`src/engine/qemu/mod.rs`). One that does not start is missed and nothing else.
pub(crate) fn start_processors() {
    if !is_asked(ONE_AT_FIRST) {
        return;
    }
    for entry in std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten() {
        let online = entry.path().join("online");
        if std::fs::read(&online).is_ok_and(|state| state.starts_with(b"0"))
            && let Err(e) = std::fs::write(&online, "1")
        {
            log(&format!("{}: {e}", online.display()));
        }
    }
}

/// Opens the wire. The host sees it, and takes it for the word that everything before it is done.
pub(crate) fn open_wire() -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(find_port()?)
}

/// Loads what `list` names, in its order.
fn load_modules(dir: &Path) -> io::Result<()> {
    let list = dir.join("list");
    let names = std::fs::read_to_string(&list).map_err(|e| at("cannot read", &list, e))?;
    names.lines().try_for_each(|name| load_module(&dir.join(name)))
}

fn find_port() -> io::Result<PathBuf> {
    let class = Path::new("/sys/class/virtio-ports");
    // The port appears a moment after its driver: a condition with a limit, not a pause.
    for _ in 0..10_000 {
        for entry in std::fs::read_dir(class).into_iter().flatten().flatten() {
            if std::fs::read_to_string(entry.path().join("name")).is_ok_and(|n| n.trim_end() == PORT) {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("no virtio port named {PORT}")))
}

/// The root: the image's base below, the scratch disk above, Claude on a disk of its own.
fn switch_root() -> io::Result<()> {
    let path = Path::new;
    mount_on("/dev/vda", path("/base"), "erofs", MsFlags::MS_RDONLY, "")?;
    // The disk reads as zeroes where nothing was written, so its inode tables need no zeroing in the background. What is
    // removed comes back to the host.
    mount_on("/dev/vdc", path("/scratch"), "ext4", MsFlags::MS_NOATIME, "noinit_itable,discard")?;
    make_dir(path("/scratch/upper"))?;
    make_dir(path("/scratch/work"))?;
    // Without times of access: the first reading of a link would write its inode.
    let layers = "lowerdir=/base,upperdir=/scratch/upper,workdir=/scratch/work";
    mount_on("overlay", path("/root"), "overlay", MsFlags::MS_NOATIME, layers)?;
    mount_on("/dev/vdb", path("/root/opt/claude"), "erofs", MsFlags::MS_RDONLY | MsFlags::MS_NODEV, "")?;
    for (_, target, ..) in EARLY {
        mount_on(target, &path("/root").join(&target[1..]), "", MsFlags::MS_MOVE, "")?;
    }
    std::env::set_current_dir("/root")?;
    mount_on(".", path("/"), "", MsFlags::MS_MOVE, "")?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")
}
