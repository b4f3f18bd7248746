//! The guest's home: what one project's session leaves there must not run in another project's.

use crate::support::{Limited, World};
use crate::table::Table;
use std::fs;

const CLASS: &str = "home";

/// Files that later sessions read or run, and what is asked of them.
const FILES: [(&str, &str); 11] = [
    (".bashrc", "a start file of bash"),
    (".profile", "a start file of login shells"),
    (".gitconfig", "git's settings"),
    (".npmrc", "npm's settings"),
    (".local/bin/git", "a program first on PATH"),
    (".ssh/config", "ssh's settings"),
    (".claude/settings.local.json", "hooks of Claude Code"),
    (".claude/skills/evil/SKILL.md", "a skill of Claude Code"),
    (".claude/remote/evil", "what Claude Code fetched"),
    (".claude/commands/evil.md", "a command of Claude Code"),
    (".config/git/config", "git's other settings"),
];

/// Plants all of them; those that cannot be made are no attack.
pub(crate) fn plant() -> String {
    let one =
        |(file, _): &(&str, &str)| format!("mkdir -p \"$(dirname ~claude/{file})\"; echo evil >> ~claude/{file}; ");
    FILES.iter().map(one).collect::<String>()
}

pub(crate) fn afterwards(world: &World, table: &mut Table) {
    let look: String =
        FILES.iter().map(|(file, _)| format!("grep -qs evil ~/{file} && echo {file}; ")).collect::<String>() + "true";
    let seen = |dir: &str| {
        let done = world.vm(&["bash", "--norc", "-c", &look]).current_dir(world.path(dir)).done();
        assert_eq!(done.code(), Some(0), "{done:?}");
        done.out()
    };
    fs::create_dir(world.path("other")).expect("mkdir");
    world.give("other");
    let (other, same) = (seen("other"), seen("p"));
    for (file, name) in FILES {
        let in_it = |out: &str| out.lines().any(|line| line == file);
        // What is read-only there for every project cannot be planted at all, which holds too.
        table.note(
            CLASS,
            name,
            in_it(&other),
            in_it(&same) || [".claude/skills", ".claude/commands"].iter().any(|dir| file.starts_with(dir)),
        );
    }
}
