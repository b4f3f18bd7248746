//! The initramfs: a cpio archive ("newc") with the supervisor as `/init` and the kernel's modules.
//!
//! The kernel reads concatenated archives, so the modules are an archive of their own, made once for a base system; a new
//! supervisor costs a copy.

use super::packed;
use crate::error::{Context, Failure, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Loaded at boot, in this order with what they need: the wire, the disks, the share, the root, the interface that
/// catches datagrams, and what tells the host which memory is free. Connections are caught by what is part of every kernel.
const BOOT: [&str; 9] =
    ["virtio_pci", "virtio_console", "virtio_blk", "erofs", "ext4", "overlay", "virtiofs", "tun", "virtio_balloon"];

/// A cpio archive in the making.
#[derive(Default)]
pub(super) struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

impl Cpio {
    /// Adds a directory.
    pub(super) fn dir(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), &[]);
    }

    /// Adds a file with these permissions.
    pub(super) fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entry(name, 0o100_000 | mode, (0, 0), data);
    }

    /// Adds a character device. In an archive this needs no privilege.
    pub(super) fn device(&mut self, name: &str, mode: u32, number: (u32, u32)) {
        self.entry(name, 0o020_000 | mode, number, &[]);
    }

    /// The finished archive, padded so that another may follow.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    /// Header fields as in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.inode += 1;
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.align();
        self.bytes.extend(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The archive with the supervisor, to stand before the one of [`modules`].
pub(super) fn init(supervisor: &[u8]) -> Vec<u8> {
    let mut cpio = Cpio::default();
    for dir in ["dev", "proc", "sys", "run"] {
        cpio.dir(dir);
    }
    // Without it the kernel starts init with no stdin, stdout and stderr.
    cpio.device("dev/console", 0o600, (5, 1));
    cpio.file("init", 0o755, supervisor);
    cpio.finish()
}

/// The archive with the modules of the kernel below `root` (`/lib/modules/VERSION` of an unpacked package):
/// `/modules/*.ko`, and `/modules/list` with one file name a line in load order.
///
/// # Errors
/// When a module that the guest cannot do without is missing, or a file cannot be read.
pub(super) fn modules(root: &Path) -> Result<Vec<u8>> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).what(|| format!("cannot read the kernel's {name}"));
    let index = Index::parse(&read("modules.dep")?, &read("modules.builtin")?);
    let boot = index.load_order(&BOOT)?;
    let mut cpio = Cpio::default();
    cpio.dir("modules");
    for file in &boot {
        cpio.file(&format!("modules/{}", unpacked_name(file)), 0o644, &module(&root.join(file))?);
    }
    let lines: String = boot.iter().map(|f| format!("{}\n", unpacked_name(f))).collect();
    cpio.file("modules/list", 0o644, lines.as_bytes());
    Ok(cpio.finish())
}

/// A module, unpacked: not every kernel can do that itself, and here it takes no start's time.
fn module(file: &Path) -> Result<Vec<u8>> {
    let data = std::fs::read(file).what(|| format!("cannot read the kernel's {}", file.display()))?;
    match data.starts_with(b"\x7fELF") {
        true => Ok(data),
        false => packed::unpack(&data).filter(|module| module.starts_with(b"\x7fELF")).ok_or_else(|| {
            Failure::new("cannot use this kernel")
                .because(format!("{} is packed in a way that is not known", file.display()))
        }),
    }
}

/// `modules.dep` and `modules.builtin`: which files a module needs, and which modules are part of the kernel.
struct Index {
    needs: BTreeMap<String, (String, Vec<String>)>,
    builtin: Vec<String>,
}

impl Index {
    fn parse(dep: &str, builtin: &str) -> Index {
        let line = |l: &str| {
            let (file, needs) = l.split_once(':')?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            Some((module_name(file), (file.to_owned(), needs)))
        };
        Index { needs: dep.lines().filter_map(line).collect(), builtin: builtin.lines().map(module_name).collect() }
    }

    /// Files to load, in order. depmod lists what a module needs completely and nearest first, so reversed it loads.
    fn load_order(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for name in names {
            let Some((file, needs)) = self.needs.get(*name) else {
                if self.builtin.iter().any(|b| b == name) {
                    continue;
                }
                return Err(Failure::new("cannot use this kernel").because(format!("it has no module {name}")));
            };
            for file in needs.iter().rev().chain([file]) {
                if !order.contains(file) {
                    order.push(file.clone());
                }
            }
        }
        Ok(order)
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `kernel/crypto/crc32c-intel.ko.xz` is `crc32c-intel.ko`.
fn unpacked_name(path: &str) -> &str {
    let name = file_name(path);
    name.split_inclusive(".ko").next().unwrap_or(name)
}

/// The module of a file: `kernel/crypto/crc32c-intel.ko.xz` is `crc32c_intel`.
fn module_name(path: &str) -> String {
    file_name(path).split('.').next().unwrap_or_default().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_reads_what_we_write() {
        let mut child = Command::new("cpio")
            .args(["-t", "-v", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio, from the package of this name");
        child.stdin.take().unwrap().write_all(&init(b"\x7fELF and so on")).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        let line = |end: &str| text.lines().find(|l| l.ends_with(end)).unwrap_or_default().to_owned();
        assert!(line(" init").starts_with("-rwxr-xr-x   1 root     root           14"), "{text}");
        assert!(line(" dev/console").contains("5,   1"), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn modules_are_unpacked_and_called_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("a.ko"), b"\x7fELF plain").unwrap();
        std::fs::write(at("b.ko.lz4"), packed::tests::lz4(b"\x7fELF packed")).unwrap();
        std::fs::write(at("c.ko.gz"), b"\x1f\x8b").unwrap();
        assert_eq!(module(&at("a.ko")).unwrap(), b"\x7fELF plain");
        assert_eq!(module(&at("b.ko.lz4")).unwrap(), b"\x7fELF packed");
        assert!(module(&at("c.ko.gz")).unwrap_err().because[0].contains("c.ko.gz is packed"));
        let names = ["kernel/a.ko", "kernel/b-one.ko.xz", "c.ko.zst", "d"].map(unpacked_name);
        assert_eq!(names, ["a.ko", "b-one.ko", "c.ko", "d"]);
    }

    #[test]
    fn modules_come_after_what_they_need_and_only_once() {
        let dep = "kernel/a.ko:\nkernel/b-one.ko: kernel/a.ko\nkernel/c.ko.xz: kernel/b-one.ko kernel/a.ko\n";
        let index = Index::parse(dep, "kernel/fs/ext4/ext4.ko\n");
        let order = index.load_order(&["c", "ext4", "b_one"]).unwrap();
        assert_eq!(order, ["kernel/a.ko", "kernel/b-one.ko", "kernel/c.ko.xz"]);
        assert!(index.load_order(&["d"]).unwrap_err().because[0].contains("no module d"));
    }
}
