//! What a session changed of the files that run unasked: told after it, shown, put back, accepted.

use crate::support::pty::Typist;
use crate::support::{Limited, Who, World};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Every file of a tree: its type, mode, and contents or target.
fn picture(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("list").flatten() {
            let (path, meta) = (entry.path(), entry.metadata().expect("stat"));
            let bytes = if meta.is_dir() {
                dirs.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).expect("link").into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path).expect("read")
            };
            all.push((path.to_string_lossy().into_owned(), meta.permissions().mode(), bytes));
        }
    }
    all.sort();
    all
}

#[test]
fn a_place_that_cannot_be_looked_at_hides_nothing_elsewhere() {
    let world = World::new(Who::Ordinary);
    world.enroll();
    let deep = ["deep"; 45].join("/");
    fs::create_dir_all(world.path("p").join(&deep)).expect("mkdir");
    world.give("p");
    let plant = format!("echo new > .envrc; echo new > {deep}/.envrc; mkdir -p sub/{deep}; mkfifo sub/.git");
    assert_eq!(world.vm(&["sh", "-c", &plant]).done().code(), Some(0));
    let review = world.vmclaude(&["review"]).done();
    for part in [
        "new .envrc (direnv, on cd)",
        "(what is in it cannot be looked at)",
        "new sub/.git",
        "not every file was looked at",
    ] {
        let said = review.out() + &review.err();
        assert!(said.contains(part), "{part}: {said}");
    }
    // Nobody waits for what is written into that pipe.
    assert_eq!(world.vm(&["true"]).done().code(), Some(0));
    world.assert_clean();
}

const CHANGES: &str = "echo evil >> Makefile; echo new > .envrc; mkdir -p a/.vscode; echo '{}' > a/.vscode/tasks.json; rm .mcp.json; \
    chmod +x package.json; ln -sf /etc/passwd .tool-versions; echo ok > src.txt; echo 'alias ls=x' >> ~/.bashrc; mkdir -p ~/.local/bin; \
    echo x > ~/.local/bin/git; mv conftest.py sub/";

fn project(world: &World) {
    for (name, text) in
        [("Makefile", "all:\n"), (".mcp.json", "{}\n"), ("package.json", "{}\n"), ("conftest.py", "x = 1\n")]
    {
        world.write(&format!("p/{name}"), text);
    }
    symlink("other", world.path("p/.tool-versions")).expect("ln");
    world.give("p");
    world.enroll();
}

#[test]
fn what_a_session_planted_is_told_shown_and_put_back() {
    let world = World::new(Who::Ordinary);
    project(&world);
    let before = picture(&world.path("p"));
    let mut typist = Typist::new(&world);
    typist.keys(&format!("\"$V\" bash -c \"$(cat <<'E'\n{CHANGES}\nE\n)\"; echo e''nd=$?.\n"));
    let said = typist.wait("end=0.");
    let told: Vec<&str> = said.lines().filter(|l| l.contains("vmclaude: ")).collect();
    assert!(told.len() == 10 && told[0].contains("this session changed files"), "{said}");
    assert!(said.contains("new      .envrc (direnv, on cd)") && said.contains("and 3 others"), "{said}");
    assert!(told.last().expect("lines").ends_with("vmclaude review"), "{said}");
    assert_eq!(
        fs::read_to_string(world.state().join("review.pending")).expect("list").trim_end(),
        world.path("p").to_str().expect("text")
    );
    let shown = world.vmclaude(&["review"]).done();
    for part in [
        "changed Makefile (make)",
        "+evil",
        "new .envrc (direnv, on cd)",
        "+new",
        "new a/.vscode/tasks.json (VS Code)",
        "gone .mcp.json",
        "changed package.json (npm scripts)",
        "it is:  file 0755",
        "+/etc/passwd",
        "new guest:~/.bashrc",
        "+alias ls=x",
        "new guest:~/.local/bin/git",
        "gone conftest.py",
        "new sub/conftest.py",
    ] {
        assert!(shown.out().contains(part), "{part:?} in {shown:?}");
    }
    assert!(!shown.out().contains("src.txt"), "{shown:?}");
    let claude = world.vmclaude(&["review", "--accept"]).env("CLAUDECODE", "1").done();
    claude.assert_failure(78, &["only a person"]);
    let files = [
        "Makefile",
        ".envrc",
        "a/.vscode/tasks.json",
        ".mcp.json",
        "package.json",
        ".tool-versions",
        "conftest.py",
        "sub/conftest.py",
    ];
    let restored = world.vmclaude(&[&["review", "--restore"], &files[..]].concat()).done();
    assert_eq!(restored.code(), Some(0), "{restored:?}");
    for made in ["a/.vscode", "a"] {
        fs::remove_dir(world.path("p").join(made)).expect("only the directories are left");
    }
    fs::remove_file(world.path("p/src.txt")).expect("rm");
    assert_eq!(picture(&world.path("p")), before);
    let home = world.kept("p").join("home");
    let done = world.vmclaude(&["review", "--restore", "guest:~/.bashrc"]).done();
    assert_eq!((done.code(), home.join(".bashrc").exists()), (Some(0), false), "{done:?}");
    let last = world.vmclaude(&["review", "--accept"]).done();
    assert!(last.err().contains("nothing waits") && home.join(".local/bin/git").exists(), "{last:?}");
    assert!(!world.state().join("review.pending").exists());
    world.vmclaude(&["review", "--restore", "Makefile"]).done().assert_failure(64, &["does not wait"]);
}

#[test]
fn a_session_that_was_killed_is_reviewed_too_and_a_pipe_hears_nothing() {
    let world = World::new(Who::Ordinary);
    project(&world);
    let mut live = world.start("echo evil >> Makefile; touch ready; sleep 1000");
    live.signal(nix::sys::signal::Signal::SIGKILL);
    live.end();
    let next = world.in_vm(&["true"]);
    assert_eq!((next.code(), next.err().as_str()), (Some(0), ""), "{next:?}");
    let shown = world.vmclaude(&["review"]).done();
    assert!(shown.out().contains("changed Makefile") && shown.out().contains("+evil"), "{shown:?}");
    // A host's own edit between sessions is no change of a session's.
    fs::write(world.path("p/conftest.py"), "x = 2\n").expect("write");
    world.in_vm(&["true"]);
    assert!(!world.vmclaude(&["review"]).done().out().contains("conftest"));
}

#[test]
fn sessions_of_a_directory_that_is_not_enrolled_wait_for_a_review_too() {
    let world = World::new(Who::nth(1));
    world.write("p/Makefile", "all:\n");
    let waits = || world.vmclaude(&["status"]).done().out().contains("a file that runs unasked was changed in a VM");
    assert!(!waits());
    assert_eq!(world.in_vm(&["sh", "-c", "echo evil: >> Makefile"]).code(), Some(0));
    assert!(waits() && world.vmclaude(&["review"]).done().out().contains("+evil"));
}
