//! QEMU on Linux: the command line as a function of the plan.

pub mod accel;

use crate::engine::launch::{Program, Source};
use crate::plan::Limits;
use std::path::PathBuf;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor itself.
    Kvm,
    /// QEMU's translator: everywhere, and ten times slower.
    Tcg,
}

/// Everything about this host that the command line depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// QEMU's program file.
    pub qemu: PathBuf,
    /// What runs the guest's instructions.
    pub accel: Accel,
    /// Processors of the host.
    pub cores: u32,
    /// The image's files.
    pub files: Files,
}

/// The files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The kernel, uncompressed where it could be.
    pub kernel: PathBuf,
    /// Supervisor and modules.
    pub initrd: PathBuf,
    /// The base system (erofs).
    pub base: PathBuf,
    /// Claude Code (erofs).
    pub claude: PathBuf,
    /// An empty file system (ext4, sparse) that every run copies.
    pub scratch: PathBuf,
}

/// The socket in the session's directory over which the share is served.
pub const SHARE_SOCKET: &str = "share.sock";

/// The kernel's command line. `quiet` and no self-tests of ciphers: start time. `panic=-1` with `-no-reboot`: a panic
/// ends QEMU. `random.trust_cpu`: no waiting for entropy, the host seeds the guest before anything runs.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests random.trust_cpu=on";

/// QEMU's program and arguments for a VM with these limits; `share`: with the shared directories.
pub fn program(machine: &Machine, limits: &Limits, share: bool) -> Program {
    let mut qemu = Program { path: machine.qemu.clone(), args: Vec::new(), fds: Vec::new() };
    let emulated = machine.accel == Accel::Tcg;
    let memory = limits.memory;
    let mut args: Vec<String> = Vec::new();
    let mut arg = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
    arg(&["-name", "vmclaude", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    arg(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    // HPET and PM timer stay: without them the kernel cannot calibrate its clock under emulation.
    arg(&["-machine", "q35,usb=off,sata=off,smbus=off,i8042=off,memory-backend=ram"]);
    arg(&["-accel", if emulated { "tcg,thread=multi" } else { "kvm" }, "-cpu", if emulated { "max" } else { "host" }]);
    arg(&["-smp", &limits.cpus_for(emulated, machine.cores).to_string(), "-m", &format!("{memory}M")]);
    // Shared, because the share server reads and writes the guest's memory.
    arg(&["-object", &format!("memory-backend-memfd,id=ram,size={memory}M,share=on")]);
    arg(&["-kernel", &qemu.inherit(Source::File(machine.files.kernel.clone()))]);
    arg(&["-initrd", &qemu.inherit(Source::File(machine.files.initrd.clone()))]);
    arg(&["-append", CMDLINE]);
    let run = qemu.inherit(Source::RunDir);
    arg(&["-serial", &format!("file:{run}/console.log")]);
    let wire = qemu.inherit_fd(Source::Wire);
    arg(&["-chardev", &format!("socket,id=wire,fd={wire}"), "-device", "virtio-serial-pci"]);
    arg(&["-device", "virtserialport,chardev=wire,name=vmclaude.wire"]);
    for (id, file) in [("base", &machine.files.base), ("claude", &machine.files.claude)] {
        let path = qemu.inherit(Source::File(file.clone()));
        arg(&[
            "-blockdev",
            &format!("driver=raw,node-name={id},read-only=on,file.driver=file,file.filename={path},file.locking=off"),
        ]);
        arg(&["-device", &format!("virtio-blk-pci,drive={id}")]);
    }
    let scratch = qemu.inherit(Source::Scratch(machine.files.scratch.clone()));
    // Nothing on it outlives the VM, so nothing has to reach the disk in time; a full host disk is the guest's ENOSPC.
    arg(&[
        "-blockdev",
        &format!(
            "driver=raw,node-name=scratch,discard=unmap,cache.no-flush=on,file.driver=file,file.filename={scratch},file.locking=off,file.discard=unmap,file.cache.no-flush=on"
        ),
    ]);
    arg(&["-device", "virtio-blk-pci,drive=scratch,werror=report,rerror=report"]);
    if share {
        arg(&["-chardev", &format!("socket,id=share,path={run}/{SHARE_SOCKET}")]);
        arg(&["-device", "vhost-user-fs-pci,chardev=share,tag=vmclaude,queue-size=1024"]);
    }
    qemu.args = args.into_iter().map(Into::into).collect();
    qemu
}
