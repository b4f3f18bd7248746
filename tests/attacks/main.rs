//! Attacks on the boundary, as a guest's user and as its root, and from a project's own files; each with its control, in which
//! the same thing works because the defence is not there. One file for each class; a table with the counts at the end.
//! What is known to be open is run as well, and said to be open: an attack that is held by now fails the test too.
//! Attacks through the network's doors by spelling are in `tests/net/attacks.rs`, and counted there.

mod config;
mod git;
mod guest;
mod home;
mod names;
mod network;
mod programs;
mod races;
mod secrets;
mod share;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod tripwire;

use table::Table;

#[test]
fn no_attack_succeeds_that_is_not_known_to_be_open() {
    let mut table = Table::default();
    config::run(&mut table);
    names::run(&mut table);
    programs::run(&mut table);
    guest::run(&mut table);
    table.close();
}
