//! `--dry-run` says what would run, runs nothing, and says what the run then does.

use crate::support::{Limited, Who, World};

#[test]
fn it_prints_the_plan_and_starts_nothing() {
    for who in Who::all() {
        let world = World::new(*who);
        world.enroll();
        let run = world.vmclaude(&["run", "--dry-run", "--allow-host", "127.0.0.1:99", "--", "-p", "say hi"]);
        let container = world.vm(&["--dry-run", "bash", "-c", "exit 7", "--dry-run"]);
        for (mut command, words) in [
            (run, ["run      claude -p 'say hi'", "127.0.0.1:99 here"]),
            (container, ["run      bash -c 'exit 7' --dry-run", "network  public addresses\n"]),
        ] {
            let done = command.env("ANTHROPIC_API_KEY", "a secret").current_dir(world.path("p/sub")).done();
            assert_eq!((done.code(), done.err().as_str()), (Some(0), ""), "{done:?}");
            let text = done.out();
            let user = format!("as       claude ({}:", who.guest_uid());
            let project = format!("{}/p", world.root.to_str().expect("text").replace('\'', "'\\''"));
            let programs = [
                "qemu-system-",
                "opt/bin/vmclaude' __share",
                "base.erofs",
                "/home' -> /home/claude\n",
                "/home/.vm-claude/shared' -> ",
            ];
            let fixed = ["in       /workspace/sub", "ANTHROPIC_API_KEY", &user, &project];
            for word in words.iter().chain(&programs).chain(&fixed) {
                assert!(text.contains(word), "{word:?} in {text}");
            }
            assert!(!text.contains("a secret"), "{text}");
            assert!(!world.guest_home().exists(), "not even the guest's home is made");
            world.assert_clean();
        }
    }
}
