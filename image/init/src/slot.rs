//! The share's device across a saved machine. QEMU cannot save a machine that has it, so a machine that is going to be saved lets it
//! go: what its registers hold is written down, and it is taken out of its slot behind the back of the kernel, whose driver keeps all
//! that it has. In a copy the host puts another of its kind into the slot, and the registers are written back. To find the device
//! and to start its driver anew instead would be a sixth of all that a warm start translates.

mod layout;
mod window;

use crate::sys::{at, log};
use layout::{EXPRESS, Layout, capabilities};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use window::Window;

/// The device: what is plugged into the machine's one port.
const DEVICE: &str = "/sys/bus/pci/devices/0000:01:00.0";

/// Where a device's command register is.
const COMMAND: usize = 0x04;
/// Where it says what kind of a device it is, and what of that says that its slot has several.
const HEADER: u64 = 0x0e;
const SEVERAL: u8 = 0x80;
/// What of the configuration is written back besides: cache line, addresses, interrupt line.
const PLAIN: [(usize, usize); 3] = [(0x0c, 4), (0x10, 24), (0x3c, 1)];
/// From the PCI Express capability: device control, slot control.
const DEVICE_CONTROL: usize = 0x08;
const SLOT_CONTROL: usize = 0x18;
/// Power and its lamp off.
const SLOT_OFF: u16 = 0x0700;

/// Registers of a virtio device (virtio 1.2, 4.1.4.3), and bits of its status.
mod common {
    pub(super) const SIZE: usize = 0x38;
    pub(super) const FEATURE_SELECT: usize = 0x08;
    pub(super) const FEATURE: usize = 0x0c;
    pub(super) const CONFIG_VECTOR: usize = 0x10;
    pub(super) const QUEUES: usize = 0x12;
    pub(super) const STATUS: usize = 0x14;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_PLACES: usize = 0x20;
    pub(super) const SEEN: u8 = 1;
    pub(super) const DRIVER: u8 = 2;
    pub(super) const READY: u8 = 4;
    pub(super) const FEATURES_OK: u8 = 8;
}

/// The device, and what its registers held.
struct Device {
    config: File,
    registers: Window,
    vectors: Window,
    settings: Vec<(usize, Vec<u8>)>,
    msix: (usize, Vec<u8>),
    kept: Kept,
}

/// What of it lies behind its windows.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    vectors: Vec<u32>,
    features: [u32; 2],
    config_vector: u16,
    queues: Vec<Queue>,
    status: u8,
}

#[derive(Debug, PartialEq, Eq)]
struct Queue {
    size: u16,
    vector: u16,
    enabled: u16,
    places: [u32; 6],
}

/// The slot without its device, and what that was; nothing where that cannot be put back, and the kernel does not know it any more.
pub(crate) struct Emptied(Option<Device>);

/// Takes it out of its slot.
///
/// # Errors
/// When it is still there.
pub(crate) fn take_out() -> io::Result<Emptied> {
    let place = Path::new(DEVICE).canonicalize().map_err(|e| at("cannot find", Path::new(DEVICE), e))?;
    let device = Device::look(&place).inspect_err(|e| log(&format!("the share's registers: {e}"))).ok();
    if device.is_none() {
        forget();
    }
    let port = open(&place.parent().unwrap_or(&place).join("config"))?;
    let express = capabilities(&space(&port)?).find(|(id, _)| *id == EXPRESS).ok_or(io::ErrorKind::Unsupported)?.1;
    let control = express + SLOT_CONTROL;
    let mut before = [0; 2];
    port.read_exact_at(&mut before, control as u64)?;
    let off = u16::from_le_bytes(before) | SLOT_OFF;
    port.write_all_at(&off.to_le_bytes(), control as u64)?;
    let still_there = device.as_ref().is_some_and(Device::is_there);
    // With power: what is put in later is there at once.
    port.write_all_at(&before, control as u64)?;
    if still_there {
        return Err(io::Error::other("the share's device does not leave its slot"));
    }
    Ok(Emptied(device))
}

impl Emptied {
    /// Makes what the host has put into the slot what was in it. `true`: there is something that the kernel has to look for, this or
    /// another beside it. Windows appear meanwhile, and while the machine's memory changes its form, QEMU may lose what another
    /// processor tells its interrupt controller: see `src/engine/qemu/mod.rs`.
    #[must_use]
    pub(crate) fn fill(self) -> bool {
        self.0.is_none_or(Device::put_back)
    }
}

/// Makes the kernel forget the device, so that it will look for it again.
fn forget() {
    let remove = Path::new(DEVICE).join("remove");
    if let Err(e) = std::fs::write(&remove, "1") {
        log(&format!("{}: {e}", remove.display()));
    }
}

impl Device {
    fn look(place: &Path) -> io::Result<Device> {
        let config = open(&place.join("config"))?;
        let space = space(&config)?;
        let layout = Layout::of(&space).ok_or(io::ErrorKind::Unsupported)?;
        let registers = Window::open(place, layout.registers, common::SIZE)?;
        let vectors = Window::open(place, layout.vectors, layout.vector_words * 4)?;
        let piece = |at: usize, len: usize| (at, space[at..at + len].to_vec());
        let mut settings: Vec<_> = PLAIN.iter().map(|(at, len)| piece(*at, *len)).collect();
        settings.extend(layout.express.map(|at| piece(at + DEVICE_CONTROL, 2)));
        // Last: from then on the windows show the device.
        settings.push(piece(COMMAND, 2));
        let msix = piece(layout.msix_control, 2);
        let kept = Kept::read(&registers, &vectors, layout.vector_words);
        match kept.status & common::READY {
            0 => Err(io::Error::other("it has no driver")),
            _ => Ok(Device { config, registers, vectors, settings, msix, kept }),
        }
    }

    /// Whether it answers: where nothing is, all bits are set.
    fn is_there(&self) -> bool {
        let mut id = [0; 2];
        self.config.read_exact_at(&mut id, 0).is_ok() && id != [0xff; 2]
    }

    /// Makes the device that is in the slot now what this one was. `true`: the kernel has to look.
    fn put_back(self) -> bool {
        let company = self.has_company();
        let Err(e) = self.write() else { return company };
        log(&format!("the share: {e}"));
        forget();
        true
    }

    /// Whether it is one of several functions; the host says so only where it is.
    fn has_company(&self) -> bool {
        let mut header = [0];
        self.config.read_exact_at(&mut header, HEADER).is_ok() && header[0] & SEVERAL != 0
    }

    /// Writes everything back.
    ///
    /// # Errors
    /// When it does not become what the other was.
    fn write(&self) -> io::Result<()> {
        for (at, bytes) in &self.settings {
            self.config.write_all_at(bytes, *at as u64)?;
        }
        for (n, word) in self.kept.vectors.iter().enumerate() {
            self.vectors.put(n * 4, *word);
        }
        self.config.write_all_at(&self.msix.1, self.msix.0 as u64)?;
        self.kept.write(&self.registers);
        match Kept::read(&self.registers, &self.vectors, self.kept.vectors.len()) == self.kept {
            true => Ok(()),
            false => Err(io::Error::other("the share's device is not what it was")),
        }
    }
}

impl Kept {
    fn read(from: &Window, vectors: &Window, words: usize) -> Kept {
        let feature = |nth: u32| {
            from.put(common::FEATURE_SELECT, nth);
            from.get(common::FEATURE)
        };
        let queue = |nth: u16| {
            from.put(common::QUEUE_SELECT, nth);
            Queue {
                size: from.get(common::QUEUE_SIZE),
                vector: from.get(common::QUEUE_VECTOR),
                enabled: from.get(common::QUEUE_ENABLE),
                places: std::array::from_fn(|n| from.get(common::QUEUE_PLACES + n * 4)),
            }
        };
        let queues: u16 = from.get(common::QUEUES);
        Kept {
            vectors: (0..words).map(|n| vectors.get(n * 4)).collect(),
            features: [0, 1].map(feature),
            config_vector: from.get(common::CONFIG_VECTOR),
            // A device that is not there has all bits set.
            queues: (0..queues.min(64)).map(queue).collect(),
            status: from.get(common::STATUS),
        }
    }

    /// As a driver would, in the order that the specification wants.
    fn write(&self, to: &Window) {
        to.put(common::STATUS, 0_u8);
        to.put(common::STATUS, common::SEEN | common::DRIVER);
        for (nth, feature) in (0_u32..).zip(self.features) {
            to.put(common::FEATURE_SELECT, nth);
            to.put(common::FEATURE, feature);
        }
        to.put(common::STATUS, common::SEEN | common::DRIVER | common::FEATURES_OK);
        to.put(common::CONFIG_VECTOR, self.config_vector);
        for (nth, queue) in (0_u16..).zip(&self.queues) {
            to.put(common::QUEUE_SELECT, nth);
            to.put(common::QUEUE_SIZE, queue.size);
            to.put(common::QUEUE_VECTOR, queue.vector);
            for (n, place) in queue.places.iter().enumerate() {
                to.put(common::QUEUE_PLACES + n * 4, *place);
            }
            to.put(common::QUEUE_ENABLE, queue.enabled);
        }
        to.put(common::STATUS, self.status);
    }
}

fn open(config: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(config).map_err(|e| at("cannot open", config, e))
}

fn space(config: &File) -> io::Result<[u8; 256]> {
    let mut space = [0; 256];
    config.read_exact_at(&mut space, 0).map(|()| space)
}
