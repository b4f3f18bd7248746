//! What the settings say of projects that there are not: a mistyped path must not leave a key where it is not to be.

use crate::enrollment::shown;
use crate::files::quoted;
use crate::host::Host;
use crate::report::status::Problem;
use crate::settings::Settings;
use std::path::Path;
use vmclaude_shim::decide::{Chain, in_tree};
use vmclaude_shim::{Registry, Verdict};

/// Every `[projects]` key that is no enrolled directory. Of a registry that cannot be read, others speak.
pub(super) fn unknown(host: &Host, settings: &Settings) -> Vec<Problem> {
    if settings.projects.is_empty() {
        return Vec::new();
    }
    let Ok(registry) = Registry::read(&host.dirs.state) else { return Vec::new() };
    let unknown = settings.projects.iter().filter_map(|(dir, own)| {
        let why = match &registry {
            Some(registry) => why(registry, dir)?,
            None => "nothing is enrolled".to_owned(),
        };
        Some(Problem {
            what: format!("what the settings say of {} is said of no project", shown(&own.typed)),
            because: vec![why],
            next: Some(format!(
                "${{EDITOR:-vi}} {}   # vmclaude list shows the paths",
                quoted(&host.dirs.config_file())
            )),
        })
    });
    unknown.collect()
}

/// Why `dir` is no enrolled directory; `None` when it is one, or was one when it was moved or went away.
fn why(registry: &Registry, dir: &Path) -> Option<String> {
    if registry.entries().ok()?.iter().any(|entry| entry.path == dir) {
        return None;
    }
    match in_tree(registry, &Chain::of(dir.to_path_buf())) {
        Verdict::Vm(tree) if tree.root == dir => None,
        Verdict::Vm(tree) => Some(format!("{} lies in {}, which is enrolled", shown(dir), shown(&tree.root))),
        _ => Some(format!("{} is not enrolled", shown(dir))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmclaude_shim::Identity;
    use vmclaude_shim::registry::{Entry, render};

    #[test]
    fn a_key_is_known_when_its_directory_is_enrolled_wherever_it_is_now() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        for name in ["shop", "moved", "other"] {
            std::fs::create_dir(root.join(name)).expect("mkdir");
        }
        std::fs::create_dir(root.join("shop/sub")).expect("mkdir");
        let id = |name: &str| Identity::of(&root.join(name)).expect("identity");
        let entry = |name: &str, path: &str| Entry { identity: id(name), path: root.join(path) };
        let entries = [entry("shop", "shop"), entry("moved", "was")];
        let registry = Registry::parse(render(&entries)).expect("a registry");
        let why = |name: &str| why(&registry, &root.join(name));
        assert_eq!([why("shop"), why("moved"), why("was")], [None, None, None]);
        assert!(why("other").is_some_and(|why| why.ends_with("other is not enrolled")));
        assert!(why("shop/sub").is_some_and(|why| why.contains("lies in")));
        assert!(why("gone").is_some());
    }
}
