//! The double of Apple's `container` in a world: installed, told what to do wrong, and looked at.

use super::World;
use super::image::target;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

/// What the world's image is called.
const REFERENCE: &str = "vmclaude:tests";
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// Where the double is in a world.
pub(crate) fn program(world: &World) -> PathBuf {
    world.path("opt/apple/container")
}

/// Where the service keeps its things.
pub(crate) fn service(world: &World) -> PathBuf {
    world.path("home/Library/Application Support/com.apple.container")
}

/// The lines of `config.toml` that choose it.
pub(crate) fn configuration(world: &World) -> String {
    format!("engine = \"apple\"\ncontainer = \"{}\"\n", program(world).display())
}

/// Puts the double and what its machines need into the world.
pub(crate) fn install(world: &World) {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build-apple");
        assert!(Command::new(script).status().expect("starts").success(), "tests/build-apple");
    });
    fs::create_dir_all(world.path("opt/apple")).expect("mkdir");
    let built = target().join("lib/vmclaude-tests");
    for (from, name) in [
        (built.join("container"), "container"),
        (built.join("vmclaude-apple-guest"), "vmclaude-apple-guest"),
        (target().join("lib/vmclaude/vmclaude-init"), "vmclaude-init"),
    ] {
        fs::copy(&from, world.path("opt/apple").join(name)).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
}

/// An image as `vmclaude image build` leaves it. The double runs the Linux engine's, with this supervisor.
pub(crate) fn install_image(world: &World) {
    let wire = vmclaude_init::wire::proto::VERSION;
    let known = json!({ "reference": REFERENCE, "digest": DIGEST, "created": 0, "claude": "2.1.330", "wire": wire });
    let text = serde_json::to_string(&known).expect("JSON");
    fs::write(world.path("home/.local/share/vmclaude/images/apple.json"), text).expect("write");
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let image = json!({ REFERENCE: {
        "id": &DIGEST[7..],
        "configuration": { "name": REFERENCE, "creationDate": "2026-11-01T00:00:00Z",
            "descriptor": { "digest": DIGEST, "mediaType": "application/vnd.oci.image.index.v1+json", "size": 1 } },
        "variants": [{ "platform": { "architecture": arch, "os": "linux" }, "digest": DIGEST, "size": 1,
            "config": { "config": { "Labels": { "vmclaude.wire": wire.to_string() } } } }],
    }});
    fs::create_dir_all(service(world)).expect("mkdir");
    fs::write(service(world).join("images.json"), serde_json::to_string(&image).expect("JSON")).expect("write");
}

/// Tells the double how to behave: fields of its `double.json`.
pub(crate) fn behave(world: &World, how: &Value) {
    fs::create_dir_all(service(world)).expect("mkdir");
    fs::write(service(world).join("double.json"), serde_json::to_string(how).expect("JSON")).expect("write");
    world.give("home");
}

/// The names of the containers that there are.
pub(crate) fn containers(world: &World) -> Vec<String> {
    let entries = fs::read_dir(service(world).join("containers")).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// The process of a container's helper.
pub(crate) fn helper(world: &World, name: &str) -> Option<i32> {
    fs::read_to_string(service(world).join("containers").join(name).join("pid")).ok()?.trim().parse().ok()
}

/// Waits a while until no container is left; whoever looks for leftovers finds those that are.
pub(crate) fn settle(world: &World) {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end && !(containers(world).is_empty() && super::leaks::processes(world).is_empty()) {
        std::thread::sleep(Duration::from_millis(10));
    }
}
