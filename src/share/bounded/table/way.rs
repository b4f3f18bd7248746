//! The way to a file, by the directories that it was last seen in.

use super::{Identity, Table};
use crate::share::bounded::Places;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use virtiofsd::fuse::ROOT_ID;

/// A chain of directories that is longer than this has become a ring: the host moved them about meanwhile.
const DEEPEST: usize = 4096;
/// No path that is longer is one for a kernel. The guest gets further from number to number.
const LONGEST: usize = libc::PATH_MAX.cast_unsigned() as usize;

/// A step of the way to a file that is not open: what has to be found in the directory before it.
#[derive(Debug, Clone)]
pub(in crate::share::bounded) struct Step {
    pub(in crate::share::bounded) id: u64,
    pub(in crate::share::bounded) parent: u64,
    pub(in crate::share::bounded) name: Arc<CStr>,
    pub(in crate::share::bounded) identity: Identity,
    pub(in crate::share::bounded) kind: u32,
}

impl Table {
    /// The steps from an open directory down to `id`, the first being in that; `None` for what cannot be found again.
    pub(in crate::share::bounded) fn way(&self, id: u64) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        let mut at = id;
        loop {
            let node = self.nodes.get(&at)?;
            if node.below.is_some() {
                break;
            }
            if node.nameless || steps.len() > DEEPEST {
                return None;
            }
            steps.push(Step {
                id: at,
                parent: node.parent,
                name: node.name.clone(),
                identity: node.identity,
                kind: node.kind,
            });
            at = node.parent;
        }
        steps.reverse();
        Some(steps)
    }

    /// The path of `name` in `parent`, from the root, if it is one that a kernel takes.
    pub(in crate::share::bounded) fn path(&self, parent: u64, name: &CStr) -> Option<CString> {
        self.path_after(&HashMap::new(), parent, name)
    }

    /// The same when these directories have another place.
    pub(in crate::share::bounded) fn path_after(&self, moved: &Places, parent: u64, name: &CStr) -> Option<CString> {
        let mut names = vec![name.to_bytes()];
        // With the zero at its end.
        let mut length = name.count_bytes() + 1;
        let mut at = parent;
        while at != ROOT_ID {
            let (parent, name) = match (moved.get(&at), self.nodes.get(&at)?) {
                (Some((parent, name)), _) => (*parent, &name[..]),
                (None, node) if !node.nameless => (node.parent, node.name.to_bytes()),
                _ => return None,
            };
            length += name.len() + 1;
            // So a ring has an end too.
            if length > LONGEST {
                return None;
            }
            names.push(name);
            at = parent;
        }
        names.reverse();
        CString::new(names.join(&b'/')).ok()
    }
}
