//! The image: built once for all tests (`tests/run` does it), lent to every world.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What `tests/run` gave the builder as its data directory; that is also the place where it is looked for without it.
#[allow(clippy::disallowed_methods)] // Host is for the program
fn data() -> PathBuf {
    std::env::var_os("VMCLAUDE_TEST_DATA").map_or_else(|| target().join("tests/data"), PathBuf::from)
}

fn store() -> PathBuf {
    data().join("vmclaude/images")
}

/// The directory that cargo builds in: two above the program under test.
pub(crate) fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_vmclaude"));
    program.ancestors().nth(2).expect("target/release/vmclaude").to_path_buf()
}

/// What the builder of the image found out about KVM, for a cache directory: each world would try it again, for ten seconds where it
/// hangs. Where it is not known, the world finds out.
pub(crate) fn lend_verdict(cache: &Path) {
    let to = cache.join("vmclaude");
    fs::create_dir_all(&to).expect("mkdir");
    fs::set_permissions(&to, PermissionsExt::from_mode(0o700)).expect("chmod");
    let _ = fs::copy(target().join("tests/cache/vmclaude/kvm.json"), to.join("kvm.json"));
}

/// The current image's directory.
pub(crate) fn current() -> PathBuf {
    store().join(fs::read_link(store().join("current")).expect("an image (tests/run builds it)"))
}

/// Makes the current image visible in the data directory `to` under hard links: equal files, so nobody computes digests again.
pub(crate) fn lend(to: &Path) {
    let id = fs::read_link(store().join("current")).unwrap_or_else(|e| {
        panic!("no image for tests ({e}): XDG_DATA_HOME={} vmclaude image build, or tests/run", data().display())
    });
    let images = to.join("vmclaude/images");
    let to = images.join(&id);
    fs::create_dir_all(&to).expect("mkdir");
    symlink(&id, images.join("current")).expect("ln");
    for file in fs::read_dir(store().join(&id)).expect("an image").flatten() {
        let (from, to) = (file.path(), to.join(file.file_name()));
        if from.extension().is_some_and(|e| e == "json") {
            fs::copy(&from, &to).expect("cp");
            fs::set_permissions(&to, PermissionsExt::from_mode(0o644)).expect("chmod");
            continue;
        }
        // Another user reads it too. Only where the world is on another file system is it a link by name.
        fs::set_permissions(&from, PermissionsExt::from_mode(0o644)).expect("chmod");
        fs::hard_link(&from, &to).or_else(|_| symlink(&from, &to)).expect("ln");
    }
}
