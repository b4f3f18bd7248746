//! The guest's kernel: a distribution's package, unpacked and never installed.

use super::initramfs;
use super::packed;
use super::tools::{Runner, tool};
use crate::error::{Context, Failure, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An ELF note's head: 4 bytes of name, `size` bytes of address, type 18 (the entry for PVH boot), the name "Xen".
const PVH: [&[u8]; 2] = [b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0", b"\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen\0"];

/// Unpacks the packages in `debs`, writes `vmlinux` and `modules.cpio` into `out`, and returns the kernel's version.
///
/// # Errors
/// When a package is not what it should be, or lacks a module that the guest needs.
pub(super) fn unpack(run: &Runner<'_>, debs: &Path, work: &Path, out: &Path) -> Result<String> {
    let root = work.join("kernel");
    for deb in list(debs)? {
        let mut dpkg = tool("dpkg-deb")?;
        run.run(dpkg.arg("-x").arg(&deb).arg(&root), "unpack the kernel's package", Duration::from_secs(120))?;
    }
    // Newer packages put their modules below usr; depmod looks in lib.
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).what(|| "cannot unpack the kernel's package")?;
    }
    let image = list(&root.join("boot"))?.into_iter().find_map(|f| {
        let version = f.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
        Some((f, version))
    });
    let (image, version) = image.ok_or_else(|| Failure::new("there is no kernel in the kernel's package"))?;
    let mut depmod = tool("depmod")?;
    run.run(depmod.arg("-b").arg(&root).arg(&version), "list the kernel's modules", Duration::from_secs(120))?;
    let modules = initramfs::modules(&root.join("lib/modules").join(&version))?;
    let bytes = std::fs::read(&image).what(|| format!("cannot read {}", image.display()))?;
    // QEMU boots the plain ELF faster; what cannot be unpacked boots as it is.
    let kernel = vmlinux(&bytes).unwrap_or(bytes);
    for (name, data) in [("vmlinux", kernel), ("modules.cpio", modules)] {
        std::fs::write(out.join(name), data).what(|| format!("cannot write {name}"))?;
    }
    Ok(version)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).what(|| format!("cannot read {}", dir.display()))?;
    Ok(entries.filter_map(|e| Some(e.ok()?.path())).collect())
}

/// The ELF file inside a bzImage, if we can unpack it and it can be booted by PVH.
fn vmlinux(image: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    // Sectors of 512 bytes in front of the part that the payload's offset counts from; 0 means 4.
    let sectors = match image.get(0x1f1)? {
        0 => 4,
        n => usize::from(*n),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    let elf = packed::unpack(image.get(start..start.checked_add(word(0x24c)?)?)?)?;
    let bootable = elf.starts_with(b"\x7fELF") && PVH.iter().any(|note| elf.windows(note.len()).any(|w| w == *note));
    bootable.then_some(elf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bz_image(elf: &[u8]) -> Vec<u8> {
        let payload = packed::tests::lz4(elf);
        let mut image = vec![0; 1024 + 64];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&64u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image
    }

    fn elf() -> Vec<u8> {
        let mut elf = b"\x7fELF".to_vec();
        elf.extend((0..(8 << 20) + 4096).map(|i| (i % 251) as u8));
        elf.extend(PVH[0]);
        elf
    }

    #[test]
    fn the_elf_file_is_taken_out_of_the_boot_image() {
        assert!(vmlinux(&bz_image(&elf())) == Some(elf()), "two blocks and a note");
    }

    #[test]
    fn anything_else_is_left_as_it_is() {
        assert!(vmlinux(b"MZ").is_none());
        assert!(vmlinux(&bz_image(b"\x7fELF without a note")).is_none());
        let mut short = bz_image(&elf());
        short.truncate(short.len() - 100);
        assert!(vmlinux(&short).is_none());
        let mut other = bz_image(&elf());
        other[1024 + 64] = 0x1f;
        assert!(vmlinux(&other).is_none());
    }
}
