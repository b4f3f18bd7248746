//! The share server as a program: this very binary, which locks itself in.

use super::launch::{Program, Source};
use crate::plan::Plan;
use std::path::Path;

/// The hidden verb that becomes the share server.
pub const VERB: &str = "__share";

/// A share server without anything to serve: the listener only.
pub fn empty(exe: &Path) -> Program {
    let mut server = Program { args: vec![VERB.into()], ..Program::new(exe) };
    server.inherit_fd(Source::ShareListener);
    server
}

/// The share server of `plan`: the listener first, then a directory for each mount, in the plan's order, then the socket for
/// events, if there are any.
pub fn program(exe: &Path, plan: &Plan) -> Option<Program> {
    let mut server = empty(exe);
    for mount in &plan.mounts {
        server.inherit_fd(Source::Dir(mount.host.clone(), mount.identity));
    }
    if plan.watch.enabled {
        server.inherit_fd(Source::ShareEvents);
    }
    (!plan.mounts.is_empty()).then_some(server)
}
