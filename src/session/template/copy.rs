//! A copy of a saved machine: its memory and disk are laid out while QEMU starts, then its devices are restored and the
//! share is plugged in.

use super::file::Template;
use super::mapped::Mapped;
use crate::engine::launch::Warm;
use crate::engine::qemu::warm;
use crate::error::{Context, Failure, Result};
use crate::profile;
use crate::session::child::{self, Handles, Running};
use crate::session::qmp::Control;
use crate::session::scratch;
use crate::session::volume::Held;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a copy may take. Twenty at once on a small machine take some seconds each.
const LIMIT: Duration = Duration::from_secs(30);
/// A copy on its way to life.
pub(in crate::session) struct Copy {
    /// Its process.
    pub(in crate::session) machine: Running,
    /// Its memory.
    pub(in crate::session) memory: File,
    /// The near end of its wire.
    pub(in crate::session) wire: UnixStream,
    /// Says when it runs and has its share.
    pub(in crate::session) ready: oneshot::Receiver<Result<()>>,
}

/// Starts a copy of `template`; a thread sees to the rest.
pub(in crate::session) fn start(warm: &Warm, template: Template, dir: &Path, volume: Option<&Held>) -> Result<Copy> {
    let what = || "cannot start a copy";
    let memory = scratch::memory(template.memory().size >> 20)?;
    let disk = scratch::nameless(dir)?;
    disk.set_len(template.scratch().size).what(what)?;
    let (control, far_control) = UnixStream::pair().what(what)?;
    let (wire, far_wire) = UnixStream::pair().what(what)?;
    let handles = Handles {
        wire: Some(far_wire.as_fd()),
        control: Some(far_control.as_fd()),
        memory: Some(memory.as_fd()),
        scratch: Some(disk.as_fd()),
        volume: volume.map(Held::as_fd),
        ..Handles::of(dir)
    };
    let (memory_again, disk_again) = (memory.try_clone().what(what)?, disk.try_clone().what(what)?);
    let machine = child::start(&warm.machine, &handles, "machine.log", Stdio::null())?;
    let layers = lay_out(Arc::new(template), memory_again, disk_again);
    let (tell, ready) = oneshot::channel();
    let has_volume = volume.is_some();
    std::thread::spawn(move || tell.send(bring_to_life(control, layers, has_volume)));
    Ok(Copy { machine, memory, wire, ready })
}

/// What the laying out of memory and disk comes to, and whence the devices' state comes.
type Layers = (JoinHandle<std::io::Result<Mapped>>, Arc<Template>);

/// QEMU looks at neither memory nor disk before it restores, so this goes on while it starts.
fn lay_out(template: Arc<Template>, memory: File, disk: File) -> Layers {
    let from = template.clone();
    let thread = std::thread::spawn(move || {
        from.copy(from.scratch(), &disk)?;
        from.lay_out(from.memory(), &memory)
    });
    (thread, template)
}

fn bring_to_life(control: UnixStream, layers: Layers, volume: bool) -> Result<()> {
    let what = || "cannot lay out the template";
    let mut control = Control::greet(control, LIMIT)?;
    for command in warm::prepare() {
        control.execute(&command)?;
    }
    profile::mark("QEMU is up");
    let (thread, template) = layers;
    let devices = template.state().what(what)?;
    let mapped = thread.join().map_err(|_| Failure::new(what()))?.what(what)?;
    profile::mark("memory is there");
    let (read, mut write) = std::io::pipe().what(what)?;
    control.hand_over(&warm::take_pipe(), read.as_fd())?;
    drop(read);
    control.execute(&warm::restore())?;
    write.write_all(&devices).what(|| "QEMU did not take the state of its devices")?;
    drop(write);
    // Aside: it takes as long as QEMU takes to restore.
    std::thread::spawn(move || drop(mapped));
    control.event(warm::RESTORING, warm::is_restored)?;
    profile::mark("it is what it was");
    for command in warm::plug(volume).iter().chain([&warm::go()]) {
        control.execute(command)?;
    }
    profile::mark("it has its share, and runs");
    Ok(())
}
