//! What one project's session leaves behind is not found, and not run, by another project's.

use crate::support::pty::Typist;
use crate::support::{Limited, Who, World};
use std::fs;

/// Places from which something runs by itself in a later session, or opens something for it.
const PLANTED: [&str; 16] = [
    ".bashrc",
    ".profile",
    ".bash_profile",
    ".gitconfig",
    ".npmrc",
    ".ssh/config",
    ".local/bin/git",
    ".config/git/config",
    ".config/pip/pip.conf",
    ".claude/settings.json",
    ".claude/.claude.json",
    ".claude/agents/evil.md",
    ".claude/hooks/evil.sh",
    ".claude/plugins/installed_plugins.json",
    ".claude/remote/.api_key",
    ".claude/remote/.oauth_token",
];

/// Writes a mark into each of those places, and tries what all projects see.
fn plant() -> String {
    let mark =
        |name: &&str| format!("mkdir -p ~/$(dirname {name}); echo 'echo PLANTED' >> ~/{name}; chmod +x ~/{name}\n");
    let all: String = PLANTED.iter().map(mark).collect();
    // What is common: the login is written, and nothing else can be.
    all + "echo token > /var/lib/vmclaude/login/token\n\
           for f in CLAUDE.md new skills/s/SKILL.md; do echo x 2>/dev/null >> /var/lib/vmclaude/shared/$f && echo wrote $f; done\n\
           mv /var/lib/vmclaude/shared/CLAUDE.md /var/lib/vmclaude/shared/away 2>/dev/null && echo moved\n\
           ls ~/.claude/sessions/.. >/dev/null && touch ~/.claude/sessions/1.json ~/.claude/ide/1.lock && echo own\n"
}

/// Says which of those places hold the mark, and what a login shell says by itself.
fn look() -> String {
    let names = PLANTED.join(" ");
    format!(
        "cd ~; for f in {names}; do grep -l PLANTED $f 2>/dev/null; done\n\
         bash -lic true 2>/dev/null; git --version | head -1 | cut -c1-11\n\
         cat /var/lib/vmclaude/shared/CLAUDE.md ~/.claude/CLAUDE.md; ls ~/.claude/sessions ~/.claude/ide\n"
    )
}

fn world(home: &str) -> World {
    let world = World::new(Who::nth(1));
    for project in ["p", "q"] {
        fs::create_dir_all(world.path(project)).expect("mkdir");
        world.give(project);
    }
    world.configure(&format!("home = '{home}'\n[network]\nmode = 'none'\n"));
    for name in ["CLAUDE.md", "skills/s/SKILL.md"] {
        let file = world.write(&format!("home/.vm-claude/shared/{name}"), "of the user\n");
        let dirs = file.ancestors().skip(1).take_while(|dir| *dir != world.path("home"));
        dirs.for_each(|dir| {
            fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod")
        });
    }
    world
}

fn run(world: &World, project: &str, script: &str) -> String {
    let done = world.vm(&["bash", "-c", script]).current_dir(world.path(project)).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.out()
}

#[test]
fn nothing_that_one_project_left_is_in_anothers_home() {
    let world = world("project");
    assert_eq!(run(&world, "p", &plant()), "own\n", "shared is read only, whoever tries");
    let clean = "git version\nof the user\nof the user\n/home/claude/.claude/ide:\n\n/home/claude/.claude/sessions:\n";
    assert_eq!(run(&world, "q", &look()), clean);
    // It is there: the same session's project finds it. Only what describes processes is gone.
    let again = run(&world, "p", &look());
    assert!(PLANTED.iter().all(|name| again.contains(name)) && again.contains("PLANTED\n"), "{again}");
    assert!(!again.contains("1.json") && !again.contains("1.lock"), "{again}");
    let shared = world.guest_home().join("shared");
    let left: Vec<_> = fs::read_dir(&shared).expect("shared").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(fs::read_to_string(shared.join("CLAUDE.md")).expect("read"), "of the user\n");
    world.assert_clean();
}

/// The control: with one home for all, the same plants do run in the other project's session.
#[test]
fn in_a_shared_home_they_are_as_the_setting_says() {
    let world = world("shared");
    run(&world, "p", &plant());
    let other = run(&world, "q", &look());
    assert!(
        other.contains("PLANTED\n") && other.contains(".local/bin/git"),
        "the attack works where it is allowed: {other}"
    );
    let claudes = PLANTED.iter().filter(|name| name.starts_with(".claude/"));
    assert!(claudes.into_iter().all(|name| !other.contains(name)), "Claude's own is apart even so: {other}");
    world.assert_clean();
}

/// On a terminal, the first enrollment offers what the host's own Claude Code has; later ones do not.
#[test]
fn the_first_enrollment_offers_the_hosts_own_settings() {
    let world = World::bare(Who::nth(1));
    world.write("home/.claude/settings.json", r#"{"model":"opus","hooks":{"Stop":[]},"env":{"K":"SECRET"}}"#);
    world.write("home/.claude/skills/s/SKILL.md", "skill\n");
    world.write("home/.claude/.credentials.json", "SECRET");
    for dir in ["q", "r"] {
        fs::create_dir_all(world.path(dir)).expect("mkdir");
        world.give(dir);
    }
    // Not on a terminal: nothing is asked and nothing is copied.
    world.enroll();
    let shared = world.guest_home().join("shared");
    assert!(!shared.join("settings.json").exists());
    let done = world.vmclaude(&["unenroll", "--yes"]).done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    let mut typist = Typist::new(&world);
    let program = world.path("opt/bin/vmclaude");
    let mut enroll = |dir: &str, answers: &[(&str, &str)]| {
        typist.keys(&format!("cd \"{}\"; \"{}\" enroll; echo st=$?.\n", world.path(dir).display(), program.display()));
        let asked: String = answers
            .iter()
            .map(|(question, answer)| {
                let said = typist.wait(question);
                typist.keys(&format!("{answer}\n"));
                said
            })
            .collect();
        asked + &typist.wait("st=0.")
    };
    let said = enroll("q", &[("secrets? [Y/n]", ""), ("hook in", "n")]);
    assert!(said.contains("settings.json, skills") && said.contains("left out: env, hooks"), "{said}");
    let read = |name: &str| fs::read_to_string(shared.join(name)).expect(name);
    assert!(read("settings.json").contains("opus") && read("skills/s/SKILL.md") == "skill\n");
    let found = world.command("grep").args(["-rl", "SECRET"]).arg(world.guest_home()).done();
    assert_eq!(found.out(), "");
    let said = enroll("r", &[]);
    assert!(!said.contains("[Y/n]"), "{said}");
}
