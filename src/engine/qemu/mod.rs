//! QEMU on Linux: the command line as a function of the plan.

pub mod accel;
pub mod warm;

use crate::engine::launch::{Program, Source};
use crate::plan::Limits;
use std::path::{Path, PathBuf};

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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

/// How a machine comes to life. All of them have the same processors, memory, buses and disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// From power-on, without the user's directories: to see whether it boots at all.
    Trial,
    /// From power-on, with the share plugged in.
    Boot,
    /// From power-on up to the supervisor's wait for its host, to be saved there. Nothing of a user is attached: the share is empty, and
    /// the supervisor takes its device out.
    Template(Flavor),
    /// As a copy of a saved machine; the share is plugged in once it runs.
    Copy,
}

/// What a template has in its memory besides what every session needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// Nothing: for any command.
    Plain,
    /// What every start of Claude Code reads of its program. A copy takes a while longer to lay out, and Claude Code starts much sooner.
    Claude,
}

/// The socket in the session's directory over which the share is served.
pub const SHARE_SOCKET: &str = "share.sock";

/// The device by which the guest sees the share, its name there, and its queue's length.
const SHARE_DEVICE: &str = "vhost-user-fs-pci";
const SHARE_TAG: &str = "vmclaude";
const SHARE_QUEUE: u32 = 1024;
/// Where that device is plugged in.
const PORT: &str = "share-port";
/// The project's volume: beside the share, as another function of what is plugged in there, so that a machine without one has
/// nothing for it, and a guest looks once.
const VOLUME: &str = "volume";
const VOLUME_ADDRESS: &str = "0.1";
const SHARE_ADDRESS: &str = "0.0";

/// The kernel's command line. `quiet` and no self-tests of ciphers: start time. `panic=-1` with `-no-reboot`: a panic
/// ends QEMU. `random.trust_cpu`: no waiting for entropy, the host seeds the guest before anything runs. `no_timer_check`: what
/// it checks is there, but on a busy host an emulated timer may be late for the check, which then ends in a panic.
/// `pcie_ports=compat`: the one port has no services, see [`devices`]. `iomem=relaxed`:
/// the supervisor reads and writes registers of the share's device (`image/init/src/slot.rs`). `lsm`: what programs use; the
/// distribution's other modules have no policy here, and would only be asked about every file. `swiotlb=noforce`: no device here
/// needs a copy of its data in low memory, and 64 MiB for it would be cleared at every start. `psi=0`: nobody asks how long
/// processes wait. The two steps that are left out make the names in a tracer's lists prettier.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests random.trust_cpu=on no_timer_check \
                       pcie_ports=compat iomem=relaxed lsm=landlock,yama swiotlb=noforce psi=0 \
                       initcall_blacklist=ftrace_check_for_weak_functions,trace_eval_init";

/// Added under emulation, where it is dear to change the kernel's code for a machine with one processor, and gains nothing.
const EMULATED_LINE: &str = " noreplace-smp";
/// Added there with more than one: how long the kernel of another waits in a loop need not be found out, which takes two seconds; at less than
/// 4 GHz a wait is longer than it was asked for. And the processors' clocks are one, the host's, although they do not say so. `maxcpus=1`: the
/// kernel boots with one, and the supervisor starts the others when everything is plugged in (`image/init/src/boot.rs`). Each time that a
/// device's window appears or goes, QEMU lays out the machine's memory anew, and what another processor tells its interrupt controller at
/// that moment may be lost; then it never hears its timer again. (QEMU 7.2 also keeps old translations of code that one processor changes
/// while another comes to it, which a kernel does most while it boots.) `tests/bench/soak.sh` shows it. The last
/// word is for the supervisor: one processor rehearses while the other sets up (`image/init/src/rehearsal.rs`).
const MANY_LINE: &str = " maxcpus=1 lpj=16000000 tsc=reliable vmclaude.rehearse";
/// Added under emulation with one processor: the other timer does as well, and to find out how fast this one goes takes a tenth of
/// a second of waiting.
const ONE_LINE: &str = " nolapic_timer";

/// The emulated processor. With `erms` the guest's kernel and libraries copy and clear memory byte by byte ("rep movsb"), which
/// the translator takes literally; without, they take eight or more bytes at a time, and are three to six times faster. `fsrm`
/// says the same of short copies; newer QEMUs have it, and Linux takes it to imply `erms`: with the one alone its copies go wrong
/// and it does not boot.
const EMULATED: &str = if cfg!(target_arch = "x86_64") { "max,erms=off,fsrm=off" } else { "max" };

/// Added for a template: the supervisor then makes itself ready to be copied (see `image/init/src/template.rs`).
const TEMPLATE: &str = " vmclaude.template";
/// Added to that for a template for Claude Code.
const TEMPLATE_CLAUDE: &str = " vmclaude.template.claude";

/// QEMU's program and arguments for a VM with these limits, and with this volume where there is a share.
pub fn program(machine: &Machine, limits: &Limits, life: Life, volume: Option<&Path>) -> Program {
    let mut qemu = Program::new(&machine.qemu);
    let mut args = base(machine, limits);
    args.extend(kernel(machine, limits, life, &mut qemu));
    args.extend(devices(machine, limits.memory, &mut qemu));
    let mut arg = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
    if life != Life::Trial {
        let run = qemu.inherit(Source::RunDir);
        arg(&["-chardev", &format!("socket,id=share,path={run}/{SHARE_SOCKET}")]);
        if let Some(volume) = volume.filter(|_| !matches!(life, Life::Template(_))) {
            let file = qemu.inherit(Source::Volume(volume.to_path_buf()));
            // What the guest flushes is flushed, because this outlives the machine. The lock is ours, not QEMU's.
            arg(&[
                "-blockdev",
                &format!(
                    "driver=raw,node-name={VOLUME},discard=unmap,file.driver=file,file.filename={file},file.locking=off,file.discard=unmap"
                ),
            ]);
        }
    }
    if matches!(life, Life::Boot | Life::Template(_)) {
        if life == Life::Boot && volume.is_some() {
            let disk = format!("virtio-blk-pci,drive={VOLUME},bus={PORT},addr={VOLUME_ADDRESS},multifunction=on");
            arg(&["-device", &format!("{disk},werror=report,rerror=report")]);
        }
        let share = format!("{SHARE_DEVICE},chardev=share,tag={SHARE_TAG},queue-size={SHARE_QUEUE},bus={PORT}");
        // One of several functions, whether there is another or not: a guest that has seen it once would look for no other.
        arg(&["-device", &format!("{share},addr={SHARE_ADDRESS},multifunction=on")]);
    }
    if matches!(life, Life::Template(_) | Life::Copy) {
        let control = qemu.inherit_fd(Source::Control);
        arg(&["-chardev", &format!("socket,id=control,fd={control}"), "-mon", "chardev=control,mode=control"]);
    }
    if life == Life::Copy {
        arg(&["-incoming", "defer", "-S"]);
    }
    qemu.args = args.into_iter().map(Into::into).collect();
    qemu
}

/// Everything that names no descriptor.
fn base(machine: &Machine, limits: &Limits) -> Vec<String> {
    let emulated = machine.accel == Accel::Tcg;
    let mut args: Vec<String> = Vec::new();
    let mut arg = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
    arg(&["-name", "vmclaude", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    arg(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    // HPET and PM timer stay: without them the kernel cannot calibrate its clock under emulation.
    arg(&["-machine", "q35,usb=off,sata=off,smbus=off,i8042=off,memory-backend=ram"]);
    arg(&["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]);
    arg(&[
        "-accel",
        if emulated { "tcg,thread=multi" } else { "kvm" },
        "-cpu",
        if emulated { EMULATED } else { "host" },
    ]);
    arg(&["-smp", &limits.cpus_for(emulated, machine.cores).to_string(), "-m", &format!("{}M", limits.memory)]);
    args
}

fn kernel(machine: &Machine, limits: &Limits, life: Life, qemu: &mut Program) -> Vec<String> {
    // Words that other processors' kernels do not know.
    let emulated = machine.accel == Accel::Tcg && cfg!(target_arch = "x86_64");
    let one = emulated && limits.cpus_for(true, machine.cores) == 1;
    let many = emulated && !one;
    let (template, claude) = (matches!(life, Life::Template(_)), life == Life::Template(Flavor::Claude));
    let words = [
        (emulated, EMULATED_LINE),
        (one, ONE_LINE),
        (many, MANY_LINE),
        (template, TEMPLATE),
        (claude, TEMPLATE_CLAUDE),
    ];
    let line = words.iter().filter(|(wanted, _)| *wanted).fold(CMDLINE.to_owned(), |line, (_, word)| line + word);
    let kernel = qemu.inherit(Source::File(machine.files.kernel.clone()));
    let initrd = qemu.inherit(Source::File(machine.files.initrd.clone()));
    ["-kernel", &kernel, "-initrd", &initrd, "-append", &line].map(str::to_owned).to_vec()
}

/// Memory, console, wire, disks, and the port for the share: the same, in the same order, whatever the life.
fn devices(machine: &Machine, memory: u64, qemu: &mut Program) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut arg = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
    // Shared, because the share server reads and writes the guest's memory; a file, so that a copy can be put there.
    let ram = qemu.inherit(Source::Memory(memory));
    arg(&["-object", &format!("memory-backend-file,id=ram,size={memory}M,share=on,mem-path={ram}")]);
    let run = qemu.inherit(Source::RunDir);
    arg(&["-serial", &format!("file:{run}/console.log")]);
    let wire = qemu.inherit_fd(Source::Wire);
    // Under emulation the guest's processor hands its bytes over itself: to wake another thread for it takes longer.
    let serial = if machine.accel == Accel::Tcg { "virtio-serial-pci,ioeventfd=off" } else { "virtio-serial-pci" };
    arg(&["-chardev", &format!("socket,id=wire,fd={wire}"), "-device", serial]);
    arg(&["-device", "virtserialport,chardev=wire,name=vmclaude.wire,id=wire"]);
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
    // What the guest frees comes back to the host. (The memory is shared, so QEMU punches holes into its file.)
    arg(&["-device", "virtio-balloon-pci,free-page-reporting=on"]);
    // The supervisor sees to the share when it needs it (`setup.rs`), so no event has to reach the guest: interpreting the firmware's
    // tables for that took longer than all of the share's own start.
    arg(&["-device", &format!("pcie-root-port,id={PORT},chassis=1,slot=1")]);
    args
}
