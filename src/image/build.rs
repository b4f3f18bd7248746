//! The flow of a build: reuse what is equal, make the rest aside, and put the finished image in place in one step.

use super::progress::Progress;
use super::recipe::Recipe;
use super::store::{self, FORMAT, Image, Manifest, Stamp};
use super::tools::{Runner, require};
use super::{claude, initramfs, kernel, rootfs, scratch};
use crate::error::{Context, Failure, Result};
use crate::files::{Lock, private_dir, sync_dir, try_lock};
use crate::host::{Dirs, Host, now};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files that belong to the base system.
const BASE: [&str; 4] = ["base.erofs", "vmlinux", "modules.cpio", "scratch.ext4"];
/// What builds are made in; the next build removes what a killed one left.
const ASIDE: &str = ".build";

/// What is to be built.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Claude Code's version: `latest` or three numbers. `None`: the one that was tested with this program.
    pub claude: Option<&'a str>,
    /// Build the base system although there is one of the same recipe.
    pub fresh: bool,
    /// Debian packages to add.
    pub packages: &'a [String],
}

/// Builds what is missing and makes it the current image.
///
/// # Errors
/// Missing tools, all at once; then whatever a step says. The old image is then what it was.
pub fn build(host: &Host, request: Request<'_>) -> Result<Image> {
    claude::check(request.claude)?;
    require(host.uid)?;
    scratch::allow_large_files()?;
    let supervisor = std::fs::read(host.helper("vmclaude-init")?).what(|| "cannot read the guest's supervisor")?;
    let recipe = Recipe::read(request.packages)?;
    let images = host.dirs.images();
    private_dir(&images)?;
    private_dir(&host.dirs.cache)?;
    let progress = Progress::new(host.tty[2]);
    let _lock = lock(&images, &progress)?;
    let work = images.join(ASIDE);
    sweep(host, &work);
    private_dir(&work.join("image"))?;
    let log = host.dirs.cache.join("image-build.log");
    let _ = std::fs::remove_file(&log);
    let run = Runner { log: &log, progress: &progress };
    let job = Job { host, request, recipe: &recipe, run: &run, work: &work, out: work.join("image") };
    let built = job.run(&supervisor);
    sweep(host, &work);
    built
}

fn lock(images: &Path, progress: &Progress) -> Result<Lock> {
    let path = images.join(".lock");
    match try_lock(&path)? {
        Some(lock) => Ok(lock),
        None => {
            progress.step("waiting for another build to end");
            crate::files::lock(&path)
        }
    }
}

fn sweep(host: &Host, work: &Path) {
    rootfs::sweep(host);
    let _ = std::fs::remove_dir_all(work);
}

struct Job<'a> {
    host: &'a Host,
    request: Request<'a>,
    recipe: &'a Recipe,
    run: &'a Runner<'a>,
    work: &'a Path,
    out: PathBuf,
}

/// What is known about a base system beside its files.
struct Base {
    kernel: String,
    node: String,
}

impl Job<'_> {
    fn run(&self, supervisor: &[u8]) -> Result<Image> {
        let key = self.recipe.key();
        let (mut images, current) = store::list(&self.host.dirs)?;
        // The newest first; one that is damaged is of no use to a new image.
        images.reverse();
        let base = self.base(&images, &key)?;
        let node = node_dir(&self.host.dirs, &key);
        // Without a word about it, Claude stays at the version that the user has.
        let kept = images.iter().find(|i| Some(&i.manifest.id) == current.as_ref()).map(|i| claude::Release {
            version: i.manifest.claude.clone(),
            integrity: i.manifest.claude_integrity.clone(),
        });
        let release = match (self.request.claude, kept) {
            (None, Some(kept)) => kept,
            (wanted, _) => claude::resolve(self.run, &node, self.work, wanted)?,
        };
        let init = format!("{:x}", Sha256::digest(supervisor));
        let same = |i: &&Image| {
            let m = &i.manifest;
            let wire = vmclaude_init::wire::proto::VERSION;
            (&m.base_key, &m.claude_integrity, &m.supervisor, m.wire) == (&key, &release.integrity, &init, wire)
                && i.verify(m.files.keys()).is_ok()
        };
        if let Some(image) = images.iter().find(same).filter(|_| !self.request.fresh) {
            if current.as_deref() != Some(&image.manifest.id) {
                store::set_current(&self.host.dirs, &image.manifest.id)?;
            }
            return Ok(image.clone());
        }
        self.claude(&images, &node, &release)?;
        self.initrd(supervisor)?;
        let manifest = Manifest {
            format: FORMAT,
            id: new_id(&store::names(&self.host.dirs)?),
            created: now(),
            arch: self.recipe.arch.to_owned(),
            base_key: key,
            kernel: base.kernel,
            node: base.node,
            claude: release.version,
            claude_integrity: release.integrity,
            wire: vmclaude_init::wire::proto::VERSION,
            supervisor: init,
            packages: Some(self.request.packages.to_vec()),
            files: BTreeMap::new(),
        };
        self.publish(manifest)
    }

    /// The base's files in `out`: linked from an image with the same key, or built.
    fn base(&self, images: &[Image], key: &str) -> Result<Base> {
        let names = BASE.map(str::to_owned);
        let node = node_dir(&self.host.dirs, key);
        let usable =
            |i: &&Image| i.manifest.base_key == key && node.join("bin/node").is_file() && i.verify(&names).is_ok();
        if let Some(image) = images.iter().find(usable).filter(|_| !self.request.fresh) {
            self.link(image, &BASE)?;
            return Ok(Base { kernel: image.manifest.kernel.clone(), node: image.manifest.node.clone() });
        }
        rootfs::check_namespaces(self.host)?;
        self.run.progress.expect(3);
        self.run.progress.step(&format!("building the base system from {} packages", self.recipe.packages.len()));
        let raw = self.work.join("raw");
        rootfs::build(self.host, self.run, self.recipe, self.work, &raw)?;
        self.run.progress.step("unpacking the kernel");
        let kernel = kernel::unpack(self.run, &raw.join("kernel"), self.work, &self.out)?;
        std::fs::rename(raw.join("base.erofs"), self.out.join("base.erofs")).what(|| "cannot keep the base system")?;
        scratch::make(self.run, &self.out.join("scratch.ext4"))?;
        let version = self.run.output(
            std::process::Command::new(raw.join("node/bin/node")).arg("--version"),
            "run the guest's Node.js here",
            Duration::from_secs(60),
        )?;
        replace_dir(&raw.join("node"), &node)?;
        Ok(Base { kernel, node: version.trim().to_owned() })
    }

    fn claude(&self, images: &[Image], node: &Path, release: &claude::Release) -> Result<()> {
        let name = "claude.erofs".to_owned();
        let usable = |i: &&Image| i.manifest.claude_integrity == release.integrity && i.verify([&name]).is_ok();
        if let Some(image) = images.iter().find(usable) {
            return self.link(image, &["claude.erofs"]);
        }
        self.run.progress.expect(1);
        self.run.progress.step(&format!("fetching Claude Code {}", release.version));
        claude::disk(self.run, node, self.work, release, &self.out)
    }

    fn initrd(&self, supervisor: &[u8]) -> Result<()> {
        let what = || "cannot write the initramfs";
        let mut bytes = initramfs::init(supervisor);
        bytes.extend(std::fs::read(self.out.join("modules.cpio")).what(what)?);
        std::fs::write(self.out.join("initrd.cpio"), bytes).what(what)
    }

    fn link(&self, image: &Image, names: &[&str]) -> Result<()> {
        for name in names {
            std::fs::hard_link(image.dir.join(name), self.out.join(name)).what(|| format!("cannot link {name}"))?;
        }
        Ok(())
    }

    /// On disk completely, then under its name, then current.
    fn publish(&self, mut manifest: Manifest) -> Result<Image> {
        self.run.progress.expect(1);
        self.run.progress.step("writing the image");
        let what = || "cannot finish the image";
        for name in BASE.iter().copied().chain(["claude.erofs", "initrd.cpio"]) {
            let path = self.out.join(name);
            std::fs::File::open(&path).and_then(|f| f.sync_all()).what(what)?;
            manifest.files.insert(name.to_owned(), Stamp::of(&path).what(what)?);
        }
        store::write(&self.out, &manifest)?;
        let images = self.host.dirs.images();
        let dir = images.join(&manifest.id);
        std::fs::rename(&self.out, &dir).and_then(|()| sync_dir(&images)).what(what)?;
        store::set_current(&self.host.dirs, &manifest.id)?;
        Ok(Image { dir, manifest })
    }
}

/// The guest's Node.js and npm of one base system, which fetch Claude Code on the host.
fn node_dir(dirs: &Dirs, base_key: &str) -> PathBuf {
    dirs.data.join("node").join(&base_key[..16])
}

fn replace_dir(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot write {}", to.display());
    private_dir(to.parent().ok_or_else(|| Failure::new(what()))?)?;
    if to.exists() {
        std::fs::remove_dir_all(to).what(what)?;
    }
    std::fs::rename(from, to).what(what)
}

/// Numbers that go up: the newest image is the last in every listing. Whatever has a number keeps it, if it is an image or not:
/// there would be no place for the new one.
fn new_id(names: &[String]) -> String {
    let last = names.iter().filter_map(|name| name.parse::<u64>().ok()).max();
    format!("{:04}", last.unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_image_has_a_number_that_nothing_has() {
        let id = |names: &[&str]| new_id(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            (id(&[]), id(&["0001", "0003", "x"]), id(&["9999"])),
            ("0001".into(), "0004".into(), "10000".into())
        );
    }
}
