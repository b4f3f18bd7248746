//! git in the guest: whose commits they are, and repositories whose git directory lies elsewhere.

use crate::support::{Limited, Who, World};
use std::fs;

/// A repository with a linked worktree, and one with a submodule, of somebody with a name.
fn world() -> World {
    let world = World::new(Who::nth(1));
    let global = "[user]\n\tname = A \\\"B\\\" Name\n\temail = a@example.org\n[core]\n\teditor = evil\n\
                  [init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n";
    world.write("home/.gitconfig", global);
    world.configure("[network]\nmode = 'none'\n");
    for name in ["main", "lib", "super"] {
        fs::create_dir_all(world.path(name)).expect("mkdir");
    }
    world.give("");
    for name in ["main", "lib", "super"] {
        git(&world, name, &["init", "-q"]);
        git(&world, name, &["commit", "-q", "--allow-empty", "-m", "first"]);
    }
    git(&world, "main", &["worktree", "add", "-q", "../linked"]);
    git(&world, "super", &["submodule", "--quiet", "add", "../lib", "deps/lib"]);
    world
}

fn git(world: &World, dir: &str, words: &[&str]) -> String {
    let done = world.command("git").args(words).current_dir(world.path(dir)).done();
    assert_eq!(done.code(), Some(0), "{words:?}: {done:?}");
    done.out()
}

const COMMIT: &str = "git log -1 --format='%an <%ae> %s' && git config core.editor; \
    echo x > new && git add new && git commit -qm 'from the guest' && git status --short && git log -1 --format='%an <%ae> %s'";

#[test]
fn worktrees_and_submodules_work_and_commits_are_the_users() {
    let world = world();
    for dir in ["linked", "super/deps/lib"] {
        let done = world.vm(&["bash", "-c", COMMIT]).current_dir(world.path(dir)).done();
        let who = "A \"B\" Name <a@example.org>";
        assert_eq!(
            (done.code(), done.out()),
            (Some(0), format!("{who} first\n{who} from the guest\n")),
            "{dir}: {done:?}"
        );
        let on_host = git(&world, dir, &["log", "-1", "--format=%an <%ae> %s"]);
        assert_eq!(on_host, format!("{who} from the guest\n"), "{dir}");
        assert_eq!(git(&world, dir, &["status", "--short"]), "", "{dir}");
    }
    assert!(git(&world, "main", &["log", "--all", "--format=%s"]).contains("from the guest"));
    world.assert_clean();
}

/// The pointer is the guest's to write. What it must not do is to bring somebody else's git directory into the VM.
#[test]
fn a_pointer_that_the_guest_wrote_mounts_nothing() {
    let world = world();
    let mounts = |dir: &str| {
        let done = world.vm(&["--dry-run", "true"]).current_dir(world.path(dir)).done();
        assert_eq!(done.code(), Some(0), "{done:?}");
        done.out().lines().filter(|l| l.starts_with("mount") && l.contains(".git")).count()
    };
    assert_eq!((mounts("linked"), mounts("super/deps/lib"), mounts("main"), mounts("p")), (1, 1, 0, 0), "the control");
    let at = |rest: &str| world.path(rest).display().to_string();
    for to in
        [at("main/.git"), at("main/.git/worktrees/linked"), at("super/.git/modules/deps/lib"), at("home"), "/".into()]
    {
        world.write("p/.git", format!("gitdir: {to}\n"));
        assert_eq!(mounts("p"), 0, "{to}");
    }
    // A worktree that was enrolled, and then points to another repository that plays along.
    let done = world.vmclaude(&["enroll"]).current_dir(world.path("linked")).done();
    assert!(done.err().contains("its git"), "{done:?}");
    git(&world, "super", &["worktree", "add", "-q", "--detach", "../other"]);
    let back = world.path("super/.git/worktrees/other/gitdir");
    fs::write(back, format!("{}\n", at("linked/.git"))).expect("write");
    fs::write(world.path("linked/.git"), format!("gitdir: {}\n", at("super/.git/worktrees/other"))).expect("write");
    assert_eq!(mounts("linked"), 0, "it was another one when it was enrolled");
    let done = world.vmclaude(&["enroll"]).current_dir(world.path("linked")).done();
    assert_eq!((done.code(), mounts("linked")), (Some(0), 1), "a person enrolls it again: {done:?}");
}
