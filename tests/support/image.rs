//! The image: built once for all tests (`tests/run` does it), lent to every world.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Where the tests' image is: `images/current` below it.
pub(crate) fn store() -> PathBuf {
    target().join("vm-data/vmclaude/images")
}

/// The directory that cargo builds in: two above the program under test.
pub(crate) fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_vmclaude"));
    program.ancestors().nth(2).expect("target/release/vmclaude").to_path_buf()
}

/// Makes the current image visible in `data` under hard links: equal files, so nobody computes digests again.
pub(crate) fn lend(data: &Path) {
    let id = fs::read_link(store().join("current")).unwrap_or_else(|e| {
        let data = target().join("vm-data");
        panic!("no image for tests ({e}): XDG_DATA_HOME={} vmclaude image build, or tests/run", data.display())
    });
    let to = data.join("vmclaude/images").join(&id);
    fs::create_dir_all(&to).expect("mkdir");
    symlink(&id, data.join("vmclaude/images/current")).expect("ln");
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
