//! install.sh as a program, with a home of its own and an archive in place of a build.

mod mac;
mod start_files;
mod world;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use world::{Snapshot, World, done, lived_in};

#[test]
fn installing_twice_is_installing_once_and_uninstalling_gives_every_byte_back() {
    let world = lived_in();
    let before = world.snapshot();
    world.install();
    let installed = world.snapshot();
    for name in [".bashrc", ".profile", ".zshenv", ".zprofile", ".config/fish/conf.d/vmclaude.fish", "dotfiles/zshrc"] {
        assert_eq!(world.read(name).matches("# >>> vmclaude >>>").count(), 1, "{name}");
    }
    assert!(world.home(".zshrc").is_symlink(), "a link stays a link");
    for name in ["bin/vmclaude", "bin/vmclaude-container", "lib/vmclaude/vmclaude-init", "share/man/man1/vmclaude.1"] {
        assert!(world.home(".local").join(name).exists(), "{name}");
    }
    assert!(world.home(".local/state/vmclaude/hook.zsh").exists(), "before anything is enrolled");
    world.install();
    let times = |s: &Snapshot| s.keys().cloned().collect::<Vec<_>>();
    assert_eq!(times(&installed), times(&world.snapshot()));
    assert!(installed == world.snapshot(), "twice is once");

    // From where it was installed, without the sources.
    let own = world.home(".local/lib/vmclaude/install.sh");
    let gone = done(world.clean(Command::new("/bin/sh").arg(own).args(["--uninstall"])));
    assert_eq!(gone.code, 0, "{}", gone.err);
    let mut after = world.snapshot();
    let state = world.home(".local/state");
    assert!(after.contains_key(&state.join("vmclaude/registry")), "data stays");
    after.retain(|path, _| !path.starts_with(&state) && *path != world.home(".local"));
    assert_eq!(times(&before), times(&after));
    assert!(before == after, "byte for byte");
}

#[test]
fn an_upgrade_over_a_lost_registry_says_so_and_claude_still_refuses() {
    let world = lived_in();
    world.install();
    let project = world.home("src/proj");
    std::fs::create_dir_all(&project).expect("mkdir");
    let enroll = |words: &[&str]| done(world.clean(Command::new(world.home(".local/bin/vmclaude")).args(words)));
    assert_eq!(enroll(&["enroll", "home/src/proj"]).code, 0);
    std::fs::remove_file(world.home(".local/state/vmclaude/registry")).expect("rm");
    let again = world.install();
    for part in ["the list of enrolled directories is missing", "vmclaude enroll"] {
        assert!(again.err.contains(part), "{part}: {}", again.err);
    }
    let mut claude = Command::new(world.home(".local/state/vmclaude/shims/claude"));
    let ran = done(world.clean(&mut claude).current_dir(&project));
    assert_eq!((ran.code, ran.out.as_str()), (78, ""), "{}", ran.err);
}

#[test]
fn purge_leaves_nothing() {
    let world = lived_in();
    let before = world.snapshot();
    world.install();
    world.write(".vm-claude/shared/CLAUDE.md", b"x");
    world.write(".local/share/vmclaude/images/x", b"x");
    let refused = world.run(&["--uninstall", "--purge"]);
    assert_ne!(refused.code, 0, "nobody can be asked");
    assert!(world.home(".local/bin/vmclaude").exists() && refused.err.contains("--yes"), "{}", refused.err);
    assert_eq!(world.run(&["--uninstall", "--purge", "--yes"]).code, 0);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
    assert!(world.run(&["--uninstall"]).err.contains("not installed"));
}

#[test]
fn the_hook_in_claude_codes_settings_is_taken_out_too() {
    let world = lived_in();
    world.write(".claude/settings.json", b"{\"model\": \"opus\",\n   \"hooks\": {}}");
    let before = world.snapshot();
    world.install();
    let program = world.home(".local/bin/vmclaude");
    let told = done(world.clean(Command::new(program).args(["guard", "--install"])));
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(world.read(".claude/settings.json").contains("guard --state"));
    assert!(world.run(&["--uninstall", "--dry-run"]).out.contains("the hook of vmclaude in "));
    let gone = world.run(&["--uninstall", "--purge", "--yes"]);
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
}

#[test]
fn a_dry_run_changes_nothing() {
    let world = lived_in();
    let before = world.snapshot();
    let dry = world.run(&["--dry-run"]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    for part in ["would unpack", "would install into", "would add lines to", ".zshrc"] {
        assert!(dry.out.contains(part), "{part} in {}", dry.out);
    }
    assert!(before == world.snapshot());
    world.install();
    let installed = world.snapshot();
    assert!(world.run(&["--uninstall", "--dry-run"]).out.contains("would take out: rc "));
    assert!(installed == world.snapshot());
}

#[test]
fn a_failure_half_way_leaves_everything_as_it_was() {
    // The last start file: everything else has been done by then.
    let world = lived_in();
    world.write(".config/fish/conf.d/vmclaude.fish", b"# >>> vmclaude >>>\n");
    let before = world.snapshot();
    let failed = world.run(&[]);
    assert_ne!(failed.code, 0);
    assert!(failed.err.contains("have no end") && failed.err.contains("as it was before"), "{}", failed.err);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
    // In the middle of the program files, over an older installation.
    let world = lived_in();
    world.install();
    std::fs::remove_file(world.home(".local/share/zsh/site-functions/_vmclaude")).expect("rm");
    world.write(".local/share/zsh/site-functions/_vmclaude/x", b"");
    world.write(".local/bin/vmclaude", b"older");
    let before = world.snapshot();
    let failed = world.run(&[]);
    assert!(failed.code != 0 && failed.err.contains("is a directory"), "{}", failed.err);
    assert!(before == world.snapshot());
    // Behind the hooks of an older installation.
    let world = lived_in();
    world.install();
    for name in ["exe", "hook.zsh", "where", "shims/claude"] {
        world.write(&format!(".local/state/vmclaude/{name}"), b"older");
    }
    std::fs::remove_file(world.home(".local/state/vmclaude/wrapper")).expect("rm");
    world.write(".config/fish/conf.d/vmclaude.fish", b"# >>> vmclaude >>>\n");
    let before = world.snapshot();
    let failed = world.run(&[]);
    assert!(failed.code != 0 && failed.err.contains("as it was before"), "{}", failed.err);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
    // An archive that is cut off.
    let world = lived_in();
    let before = world.snapshot();
    let archive = world.root.join(format!("release/vmclaude-linux-{}.tar.gz", std::env::consts::ARCH));
    let bytes = std::fs::read(&archive).expect("archive");
    std::fs::write(&archive, &bytes[..bytes.len() / 2]).expect("write");
    assert!(world.run(&[]).err.contains("cannot unpack"));
    assert!(before == world.snapshot());
}

/// There is no list yet: one that the installation has begun goes with it.
#[test]
fn a_failure_over_a_state_without_a_list_leaves_none() {
    let world = lived_in();
    world.write(".local/state/vmclaude/run/x", b"");
    world.write(".config/fish/conf.d/vmclaude.fish", b"# >>> vmclaude >>>\n");
    let before = world.snapshot();
    let failed = world.run(&[]);
    assert!(failed.code != 0 && failed.err.contains("as it was before"), "{}", failed.err);
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
}

/// Uninstalls as somebody who may not write everywhere, whose the world is from then on.
fn uninstall_as_a_user(world: &World) -> world::Done {
    let root = nix::unistd::geteuid().is_root();
    let who = "65534";
    if root {
        assert!(Command::new("chown").args(["-hR", who]).arg(&world.root).status().expect("chown").success());
    }
    let script = world.root.join("release/install.sh");
    let mut command = Command::new(if root { "setpriv" } else { "/bin/sh" });
    if root {
        command.args(["--reuid", who, "--clear-groups", "/bin/sh"]);
    }
    done(world.clean(command.arg(script).arg("--uninstall")))
}

#[test]
fn a_home_that_cannot_be_written_is_said_and_nothing_is_taken_out() {
    let world = lived_in();
    world.install();
    let mode = |mode| std::fs::set_permissions(world.home(""), PermissionsExt::from_mode(mode)).expect("chmod");
    mode(0o555);
    let before = world.snapshot();
    let failed = uninstall_as_a_user(&world);
    mode(0o755);
    for part in ["cannot write to", "because", "try: chmod u+w", "everything is as it was before"] {
        assert!(failed.code == 1 && failed.err.contains(part), "{part}: {}", failed.err);
    }
    assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
}

#[test]
fn a_start_file_that_became_read_only_is_said_and_nothing_is_taken_out() {
    let world = lived_in();
    world.install();
    let mode = |mode| std::fs::set_permissions(world.home(".bashrc"), PermissionsExt::from_mode(mode)).expect("chmod");
    mode(0o444);
    let before = world.snapshot();
    for failed in [world.run(&["--uninstall"]), uninstall_as_a_user(&world)] {
        for part in [".bashrc is read-only", "because", "try: chmod u+w '", "everything is as it was before"] {
            assert!(failed.code == 1 && failed.err.contains(part), "{} {part}: {}", failed.code, failed.err);
        }
        assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
    }
    mode(0o644);
    let gone = uninstall_as_a_user(&world);
    assert_eq!(gone.code, 0, "{}", gone.err);
    assert_eq!(world.read(".bashrc"), "alias ll='ls -l'");
}

#[test]
fn another_prefix_has_everything_and_uninstalls_by_its_own_copy() {
    for words in [&["--prefix", "opt/vm claude's", "--no-shell"][..], &["--prefix=opt/vm claude's", "--no-shell"]] {
        let world = lived_in();
        let before = world.snapshot();
        let installed = world.run_in(&world.home(""), words);
        assert_eq!(installed.code, 0, "{}", installed.err);
        let prefix = world.home("opt/vm claude's");
        for name in ["bin/vmclaude", "bin/vmclaude-container", "lib/vmclaude/install.sh", "share/man/man1/vmclaude.1"] {
            assert!(prefix.join(name).exists(), "{name}");
        }
        assert!(!world.home(".local/bin").exists());
        assert_eq!(world.read(".bashrc"), "alias ll='ls -l'", "--no-shell");
        let wrong = world.run(&["--uninstall"]);
        assert!(wrong.code == 1 && wrong.err.contains("--uninstall --prefix DIR"), "{}", wrong.err);
        let own = prefix.join("lib/vmclaude/install.sh");
        let gone = done(world.clean(Command::new("/bin/sh").arg(own).args(["--uninstall", "--purge", "--yes"])));
        assert_eq!(gone.code, 0, "{}", gone.err);
        assert!(before == world.snapshot(), "{:#?}", world.snapshot().keys());
    }
}

#[test]
fn an_installation_that_is_stopped_in_its_last_step_leaves_everything_as_it_was() {
    for (signal, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
        let world = lived_in();
        let before = world.snapshot();
        // Whether a start file has changed is asked behind everything else.
        std::fs::create_dir(world.root.join("tools")).expect("mkdir");
        let cmp = world.root.join("tools/cmp");
        std::fs::write(&cmp, format!("#!/bin/sh\nkill -{signal} $PPID\nexit 1\n")).expect("write");
        std::fs::set_permissions(&cmp, PermissionsExt::from_mode(0o755)).expect("chmod");
        let mut command = Command::new("/bin/sh");
        world.clean(command.arg(world.root.join("release/install.sh")).arg("--no-image"));
        let stopped = done(command.env("PATH", format!("{}:/usr/bin:/bin", world.root.join("tools").display())));
        assert_eq!(stopped.code, code, "{}", stopped.err);
        assert!(stopped.err.contains("everything is as it was before"), "{}", stopped.err);
        assert!(before == world.snapshot(), "{signal}: {:#?}", world.snapshot().keys());
    }
}

#[test]
fn packages_that_are_missing_come_in_one_command() {
    let world = World::new();
    std::fs::remove_file(world.root.join(format!("release/vmclaude-linux-{}.tar.gz", std::env::consts::ARCH)))
        .expect("rm");
    std::fs::create_dir(world.root.join("tools")).expect("mkdir");
    // As far as the script looks, these are the sources.
    std::fs::write(world.root.join("release/Cargo.lock"), "").expect("write");
    for tool in ["sh", "uname", "tr", "dirname", "id", "sed", "cat", "printf"] {
        symlink(format!("/usr/bin/{tool}"), world.root.join("tools").join(tool)).expect("ln");
    }
    let run = |words: &[&str]| {
        let mut command = Command::new("/bin/sh");
        command.arg(world.root.join("release/install.sh")).args(words);
        done(world.clean(&mut command).env("PATH", world.root.join("tools")))
    };
    assert!(run(&[]).err.contains("this machine lacks what Debian packages as: qemu-system-x86 mmdebstrap"));
    symlink("/bin/false", world.root.join("tools/apt-get")).expect("ln");
    let dry = run(&["--dry-run", "--no-shell"]);
    assert!(
        dry.out.contains("would run: apt-get install")
            && dry.out.contains("libcap-ng-dev")
            && (dry.out.contains("cargo-web rustc-web") || Path::new("/usr/bin/cargo").exists()),
        "{}{}",
        dry.out,
        dry.err
    );
    // With nobody to ask, nothing is installed.
    let said = run(&[]);
    assert!(
        said.code == 1 && said.err.contains("apt-get install --no-install-recommends qemu-system-x86"),
        "{}",
        said.err
    );
}
