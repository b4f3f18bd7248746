//! Whether KVM works, found out by booting a VM without any of the user's data: it may be there and hang, or abort QEMU.

use super::child::{self, Handles};
use super::record::{self, Record};
use crate::engine::qemu::accel::{Choice, Device, Trial, choose};
use crate::engine::qemu::{self, Accel, Files, Life, Machine};
use crate::error::{Context, Result};
use crate::files;
use crate::host::Host;
use crate::plan::Limits;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use vmclaude_init::wire::proto::{HELLO_LEN, hello};

/// A VM under KVM says hello in less than a second; one that did not after this long is taken to hang.
const LIMIT: Duration = Duration::from_secs(10);

/// The accelerator as far as it is known without a trial; `None`: nobody has tried since the host booted.
pub fn known(host: &Host, qemu: &Path) -> Option<Choice> {
    let trial = std::fs::read(verdict_file(host)).ok().and_then(|text| serde_json::from_slice::<Trial>(&text).ok());
    choose(&device(), trial.as_ref(), &about(qemu))
}

/// The accelerator, after a trial boot if need be. The verdict is kept until the host boots or QEMU changes.
///
/// # Errors
/// When the verdict cannot be kept or QEMU cannot be started at all.
pub fn accelerator(host: &Host, qemu: &Path, files: &Files) -> Result<Choice> {
    if let Some(choice) = known(host, qemu) {
        return Ok(choice);
    }
    let failed = boot(host, qemu, files)?.err();
    let trial = Trial { about: about(qemu), failed };
    files::private_dir(&host.dirs.cache)?;
    let text = serde_json::to_vec(&trial).what(|| "cannot keep the verdict about KVM")?;
    files::write_atomic(&verdict_file(host), &text, 0o600)?;
    Ok(choose(&Device::Open, Some(&trial), &trial.about).unwrap_or(Choice {
        accel: Accel::Tcg,
        why: "KVM was not tried".into(),
        next: None,
    }))
}

fn verdict_file(host: &Host) -> PathBuf {
    host.dirs.cache.join("kvm.json")
}

fn device() -> Device {
    let path = Path::new("/dev/kvm");
    match File::options().read(true).write(true).open(path) {
        Ok(_) => Device::Open,
        Err(_) if !path.exists() => Device::Missing,
        Err(e) => Device::Closed(e.to_string()),
    }
}

/// This boot of the host and this build of QEMU.
fn about(qemu: &Path) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let file = std::fs::metadata(qemu).map(|m| (m.ino(), m.size(), m.mtime())).unwrap_or_default();
    format!("{} {file:?}", boot.trim_end())
}

/// Boots up to the supervisor's hello; the inner error says in words how that failed.
fn boot(host: &Host, qemu: &Path, files: &Files) -> Result<std::result::Result<(), String>> {
    let machine = Machine { qemu: qemu.to_path_buf(), accel: Accel::Kvm, cores: 1, files: files.clone() };
    let program = qemu::program(&machine, &Limits { cpus: Some(1), memory: 512 }, Life::Trial, None);
    let record = Record::create(&host.dirs.runs(), &record::facts(Path::new("/"), "trial".as_ref(), 512))?;
    let (mut near, far) = UnixStream::pair().what(|| "cannot make the wire")?;
    let handles = Handles { wire: Some(far.as_fd()), ..Handles::of(record.dir()) };
    let mut running = child::start(&program, &handles, "machine.log", Stdio::null())?;
    drop(far);
    near.set_read_timeout(Some(LIMIT)).what(|| "cannot prepare the wire")?;
    let mut theirs = [0; HELLO_LEN];
    let answer = near.write_all(&hello()).and_then(|()| near.read_exact(&mut theirs));
    let hung = |e: &std::io::Error| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
    Ok(match answer {
        Ok(()) => Ok(()),
        Err(e) if hung(&e) => Err(format!("a VM did not answer within {} s", LIMIT.as_secs())),
        Err(e) => Err(running.ended().unwrap_or_else(|| e.to_string())),
    })
}
