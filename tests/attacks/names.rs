//! Names and words that do something to a terminal: whatever prints them prints them plain.

use crate::support::{Done, Limited, Who, World};
use crate::table::Table;
use std::fs;

const CLASS: &str = "terminal";

/// Keys for the terminal, answers that it types itself, eight-bit controls, turned and invisible writing.
const EVIL: &str = "x\x1b]0;owned\x07\x1b[6n\u{9b}31m\u{202e}gpj\u{200b}\u{feff}";

fn plain(done: &Done) -> bool {
    let fine = |text: String| text.chars().all(|c| c == '\n' || c == '\t' || vmclaude_shim::clean::is_plain(c));
    fine(done.out()) && fine(done.err())
}

pub(crate) fn run(table: &mut Table) {
    let world = World::bare(Who::nth(1));
    let dir = world.path("p").join(EVIL);
    fs::create_dir_all(dir.join("sub")).expect("mkdir");
    world.give("p");
    let in_it = |words: &[&str]| world.vmclaude(words).current_dir(&dir).done();
    // The control: the name is one that a program prints as it is.
    let raw = !plain(&world.command("ls").arg("-N").arg(world.path("p")).done());
    let mut note = |name: &'static str, done: &Done| {
        assert!(!done.out.is_empty() || !done.err.is_empty(), "{name} says nothing");
        table.note(CLASS, name, !plain(done), raw);
    };
    note("a directory's name, enrolled", &in_it(&["enroll"]));
    note("a directory's name, enrolled again", &in_it(&["enroll"]));
    note("a directory's name, in the list", &in_it(&["list"]));
    note("a directory's name, in the list as JSON", &in_it(&["list", "--json"]));
    note("a directory's name, in the status", &in_it(&["status"]));
    note("a directory's name, in the status as JSON", &in_it(&["status", "--json"]));
    note("a directory's name, in a review", &in_it(&["review"]));
    note("a directory's name, in an approval", &in_it(&["approve"]));
    note("a directory's name, without an image", &world.vm(&["true"]).current_dir(&dir).done());
    fs::write(dir.join(".vmclaude.toml"), format!("[request]\nenv = ['{EVIL}']\n")).expect("write");
    note("a key of a project's file", &world.vm(&["true"]).current_dir(&dir).done());
    fs::write(dir.join(".vmclaude.toml"), format!("\"{}\" = 1\n", EVIL.escape_unicode())).expect("write");
    note("an unknown key of a project's file", &in_it(&["status"]));
    fs::remove_file(dir.join(".vmclaude.toml")).expect("rm");
    note("a word that is no verb's", &in_it(&["image", EVIL]));
    note("a file to restore that is none", &in_it(&["review", "--restore", EVIL]));
    note("a directory's name, unenrolled", &in_it(&["unenroll", "--yes"]));
    note("a directory that is not there", &in_it(&["enroll", &format!("no-{EVIL}")]));
    world.configure(&format!("qemu = \"/{}\"\n", EVIL.escape_unicode()));
    note("a path of the settings", &in_it(&["status"]));
}
