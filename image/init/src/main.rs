//! The guest supervisor.
fn main() {}
