//! What install.sh decides and places where `uname` says Darwin. Apple's programs are stand-ins and the programs are this
//! machine's own, so that this is the script's part of an installation on a Mac, and not a Mac.

use crate::world::{Done, ROOT, Snapshot, World, done, lived_in};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Everything else that the script may call.
const TOOLS: [&str; 26] = [
    "sh", "tr", "dirname", "id", "sed", "cat", "grep", "sort", "head", "tail", "tar", "gzip", "cp", "mv", "rm", "ln",
    "mkdir", "rmdir", "mktemp", "find", "cmp", "readlink", "ls", "wc", "chmod", "touch",
];
const CONTAINER: &str = "echo 'container CLI version 1.2.2 (build: release, commit: abc1234)'";

/// A Mac with everything: macOS 26.1, arm64, `container` 1.2.2, command line tools, Rust.
struct Mac(World);

impl Mac {
    fn new() -> Mac {
        let mac = Mac(lived_in());
        let release = mac.0.root.join("release");
        std::fs::remove_file(release.join(format!("vmclaude-linux-{}.tar.gz", std::env::consts::ARCH))).expect("rm");
        std::fs::create_dir(mac.0.root.join("fake")).expect("mkdir");
        for tool in TOOLS {
            let found =
                ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(tool)).into_iter().find(|path| path.exists());
            symlink(found.expect(tool), mac.0.root.join("fake").join(tool)).expect("ln");
        }
        mac.uname("arm64");
        mac.fake("sw_vers", "[ $SYSTEM_VERSION_COMPAT = 0 ] && echo 26.1 || echo 16.0");
        mac.fake("sysctl", "echo 1");
        mac.fake("xcode-select", "echo /Library/Developer/CommandLineTools");
        mac.fake("container", CONTAINER);
        let container = mac.0.root.join("fake/container");
        mac.0.write(
            "Library/Application Support/vmclaude/config.toml",
            format!("container = \"{}\"\n", container.display()).as_bytes(),
        );
        // What it is told to build is there already.
        mac.fake(
            "cargo",
            r#"[ "$1" != --version ] || { echo cargo 1.90.0; exit; }
               echo "$*" >>"$HOME/../built"; mkdir -p target/release
               cp ../archive/bin/vmclaude ../archive/lib/vmclaude/vmclaude-shim target/release/"#,
        );
        mac
    }

    fn uname(&self, machine: &str) {
        self.fake("uname", &format!("case $1 in -s) echo Darwin ;; *) echo {machine} ;; esac"));
    }

    fn fake(&self, name: &str, text: &str) {
        let path = self.0.root.join("fake").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
    }

    /// The sources, as far as an image is made of them.
    fn sources(&self) {
        let release = self.0.root.join("release");
        for name in ["Cargo.toml", "Cargo.lock", "image"] {
            let copied = Command::new("cp").arg("-R").arg(Path::new(ROOT).join(name)).arg(&release).status();
            assert!(copied.expect("cp").success());
        }
    }

    fn archive(&self, parts: &[&str]) {
        let mut tar = Command::new("tar");
        tar.arg("-czf").arg(self.0.root.join("release/vmclaude-darwin-aarch64.tar.gz"));
        assert!(tar.arg("-C").arg(self.0.root.join("archive")).args(parts).status().expect("tar").success());
    }

    fn run(&self, words: &[&str]) -> Done {
        // A Mac's sh is an old bash.
        let mut command = Command::new("/bin/bash");
        command.arg("--posix").arg(self.0.root.join("release/install.sh")).arg("--no-image").args(words);
        done(self.0.clean(&mut command).env("PATH", self.0.root.join("fake")))
    }

    /// The home, but for where this machine's program, which is none for a Mac, keeps its list.
    fn snapshot(&self) -> Snapshot {
        let mut found = self.0.snapshot();
        found.retain(|path, _| !path.starts_with(self.0.home(".local/state")) && *path != self.0.home(".local"));
        found
    }

    fn placed(&self, name: &str) -> bool {
        self.0.home(".local").join(name).exists()
    }
}

#[test]
fn a_mac_is_told_what_it_lacks() {
    let mac = Mac::new();
    mac.sources();
    let before = mac.snapshot();
    let says = |parts: &[&str]| {
        let said = mac.run(&[]);
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        for part in parts {
            assert!(said.err.contains(part), "{part:?} in {}", said.err);
        }
        assert!(before == mac.snapshot(), "nothing is changed: {}", said.err);
    };
    for version in ["15.6.1", "16.0", "", "?"] {
        mac.fake("sw_vers", &format!("echo '{version}'"));
        says(&[&format!("this is macOS {version}"), "needs macOS 26", "try: update macOS"]);
    }
    mac.fake("sw_vers", "echo 27.0");
    mac.uname("x86_64");
    says(&["Rosetta", "try: arch -arm64"]);
    mac.fake("sysctl", "exit 1");
    says(&["an Intel processor", "Apple silicon"]);
    mac.uname("arm64");
    mac.fake("container", "exit 1");
    std::fs::remove_file(mac.0.root.join("fake/container")).expect("rm");
    says(&["container is not installed", "1.0.0", "brew install container", "container system start"]);
    let version = |said: &str| mac.fake("container", &format!("echo 'container CLI version {said} (build: release)'"));
    for old in ["0.12.3", "0.9.10"] {
        version(old);
        says(&[&format!("container {old} is too old"), "1.0.0", "brew upgrade container"]);
    }
    mac.fake("container", "echo 'dyld: no'; exit 9");
    says(&["cannot tell the version", "dyld: no"]);
    mac.fake("container", CONTAINER);
    mac.fake("xcode-select", "exit 2");
    says(&["command line tools are not installed", "xcode-select --install"]);
    mac.fake("xcode-select", "echo /Library");
    mac.fake("cargo", "echo cargo 1.87.0");
    says(&["no cargo 1.88", "rustup update, or brew install rust"]);
}

#[test]
fn a_container_with_known_faults_or_in_an_unusual_place_is_told() {
    let mac = Mac::new();
    mac.archive(&["bin", "lib"]);
    mac.sources();
    for (version, warned) in [("1.0.0", true), ("1.2.0", true), ("1.2.1", false), ("1.10.0", false), ("2.0.0", false)] {
        mac.fake("container", &format!("echo 'container CLI version {version} (build: release, commit: unspeci)'"));
        let said = mac.run(&["--dry-run"]);
        assert_eq!((said.code, said.err.contains("known security faults")), (0, warned), "{version}: {}", said.err);
        assert!(said.out.contains("would unpack"), "{}", said.out);
    }
    mac.0.write("Library/Application Support/vmclaude/config.toml", b"# container = no\n");
    let said = mac.run(&[]);
    assert!(
        said.code == 1 && said.err.contains("an unusual place") && said.err.contains("config.toml"),
        "{}",
        said.err
    );
}

#[test]
fn a_mac_gets_the_programs_and_what_its_image_is_made_of_and_gives_every_byte_back() {
    let mac = Mac::new();
    mac.sources();
    let before = mac.snapshot();
    let said = mac.run(&[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let built = std::fs::read_to_string(mac.0.root.join("built")).expect("cargo was asked");
    assert_eq!(built, "build --locked --release -p vmclaude -p vmclaude-shim\n", "nothing for Linux");
    for name in ["Cargo.toml", "Cargo.lock", "image/Containerfile", "image/init/src/lib.rs", "image/setup.sh"] {
        assert!(mac.placed(&format!("lib/vmclaude/source/{name}")), "{name}");
    }
    assert!(mac.placed("bin/vmclaude-container") && mac.placed("lib/vmclaude/vmclaude-shim"));
    assert!(!mac.placed("lib/vmclaude/vmclaude-init"), "the image has its own");
    let state = "Library/Application Support/vmclaude/state/env.sh";
    assert!(mac.0.read(".zprofile").contains(state), "{}", mac.0.read(".zprofile"));
    let installed = mac.snapshot();
    assert_eq!(mac.run(&[]).code, 0);
    assert!(installed == mac.snapshot(), "twice is once");

    // By the installed copy, which has nothing to build from.
    let own = |words: &[&str]| {
        let script = mac.0.home(".local/lib/vmclaude/install.sh");
        let mut command = Command::new("/bin/sh");
        done(mac.0.clean(command.arg(script).args(words)).env("PATH", mac.0.root.join("fake")))
    };
    let no = own(&[]);
    assert!(no.code == 1 && no.err.contains("no sources of vmclaude"), "{}", no.err);
    let gone = own(&["--uninstall"]);
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert!(before == mac.snapshot(), "{:#?}", mac.snapshot().keys());
}

#[test]
fn an_archive_for_a_mac_brings_the_sources_of_the_image_or_finds_them_beside_it() {
    let mac = Mac::new();
    mac.archive(&["bin", "lib"]);
    let before = mac.snapshot();
    let said = mac.run(&[]);
    assert!(said.code == 1 && said.err.contains("no sources of vmclaude"), "{}", said.err);
    assert!(before == mac.snapshot(), "everything is as it was");
    let source = mac.0.root.join("archive/lib/vmclaude/source");
    std::fs::create_dir_all(source.join("image")).expect("mkdir");
    std::fs::write(source.join("image/Containerfile"), "FROM scratch\n").expect("write");
    mac.archive(&["bin", "lib"]);
    let said = mac.run(&[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(mac.0.read(".local/lib/vmclaude/source/image/Containerfile"), "FROM scratch\n");
}

#[test]
fn what_fails_on_a_mac_leaves_it_as_it_was() {
    // The last start file: everything else has been done by then.
    let mac = Mac::new();
    mac.sources();
    mac.0.write(".config/fish/conf.d/vmclaude.fish", b"# >>> vmclaude >>>\n");
    let before = mac.snapshot();
    let failed = mac.run(&[]);
    assert!(failed.code == 1 && failed.err.contains("as it was before"), "{}", failed.err);
    assert!(before == mac.snapshot(), "{:#?}", mac.snapshot().keys());
    // The build.
    mac.fake("cargo", "[ \"$1\" != --version ] || { echo cargo 1.90.0; exit; }; exit 101");
    assert_eq!(mac.run(&[]).code, 101);
    assert!(before == mac.snapshot());
}
