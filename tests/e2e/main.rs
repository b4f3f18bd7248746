//! The whole program in real virtual machines: what a person, a parent process and the project see of it.
//!
//! Needs the image that `tests/run` builds. Each test has a world of its own and looks for leftovers at its end.

mod authorities;
mod bad_input;
mod barrier;
mod claude;
mod crashes;
mod dry_run;
mod events;
mod exhaust;
mod exits;
mod flood;
mod ipv6;
mod modes;
mod names;
mod network;
mod ports;
mod protected;
mod review;
mod room;
mod routing;
mod sessions;
mod share;
mod signals;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod swaps;
mod terminal;
mod trust;
mod volumes;
