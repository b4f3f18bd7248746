//! What a configuration of git's names inside of the project: a directory with hooks, and files with more configuration.
//! They are as good as `.git/hooks` and `.git/config`, wherever they lie.

use super::{LIMIT, git};
use crate::enrollment;
use crate::host::Host;
use crate::plan::protect::Git;
use crate::session::ask;
use std::path::{Component, Path, PathBuf};

/// Everything of Git's in the project at `root` (canonical), what is named included; `Err`: the same, but there are more
/// directories than were looked into.
pub fn held(host: &Host, root: &Path) -> Result<Vec<Git>, Vec<Git>> {
    let (found, named) = std::thread::scope(|scope| {
        let named = scope.spawn(|| named(host, root));
        (enrollment::git::find(root), named.join().unwrap_or_default())
    });
    let with = |found: Vec<Git>| [found, named.clone()].concat();
    found.map(&with).map_err(&with)
}

/// Asks the host's git which of them lie below `root` (canonical), as it would itself find them there. A link on the way
/// counts as itself and as what it leads to.
fn named(host: &Host, root: &Path) -> Vec<Git> {
    let Some(mut command) = git(host) else { return Vec::new() };
    command.current_dir(root).args(["config", "--includes", "--null", "--show-origin", "--get-regexp"]);
    command.arg(r"^(core\.hookspath|include\.path|includeif\..*\.path)$");
    let text = ask::output(command, LIMIT).unwrap_or_default();
    let mut found: Vec<Git> = parse(&text, root, &host.home)
        .into_iter()
        .flat_map(|path| path.canonicalize().ok().into_iter().chain([path]))
        .filter_map(|path| path.strip_prefix(root).ok().map(Path::to_path_buf))
        .filter(|path| path.components().next().is_some())
        .map(Git::Named)
        .collect();
    found.sort();
    found.dedup();
    found
}

/// `origin\0key\nvalue\0` for each; absolute paths.
fn parse(text: &str, root: &Path, home: &Path) -> Vec<PathBuf> {
    let mut fields = text.split('\0');
    let mut paths = Vec::new();
    while let (Some(origin), Some(entry)) = (fields.next(), fields.next()) {
        let Some((key, value)) = entry.split_once('\n').filter(|(_, value)| !value.is_empty()) else { continue };
        let file = root.join(origin.strip_prefix("file:").unwrap_or_default());
        // Hooks are looked for from where git runs them; more configuration beside the file that names it.
        let from = if key == "core.hookspath" { root } else { file.parent().unwrap_or(root) };
        let path = match value.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => from.join(value),
        };
        paths.push(plain(&path));
    }
    paths
}

/// By words alone: without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::host;

    #[test]
    fn hooks_and_configuration_that_are_named_in_the_project_are_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let home = dir.path().canonicalize().expect("real");
        let mut host = host();
        host.home.clone_from(&home);
        let root = home.join("p");
        std::fs::create_dir_all(root.join("scripts")).expect("mkdir");
        std::os::unix::fs::symlink("scripts", root.join("tools")).expect("ln");
        assert_eq!(named(&host, &root), [], "there is no repository, and nothing is configured");
        let git = |words: &[&str]| {
            let mut command = super::git(&host).expect("git");
            assert!(command.current_dir(&root).args(words).output().expect("git").status.success(), "{words:?}");
        };
        git(&["init", "-q"]);
        assert_eq!(named(&host, &root), []);
        git(&["config", "core.hooksPath", "tools/"]);
        git(&["config", "--add", "include.path", "../team.gitconfig"]);
        git(&["config", "--add", "include.path", "/etc/elsewhere"]);
        git(&["config", "includeIf.onbranch:x.path", "~/p/side.gitconfig"]);
        std::fs::write(root.join("team.gitconfig"), "[include]\n\tpath = more/x\n").expect("write");
        std::fs::write(home.join(".gitconfig"), "[include]\n\tpath = p/mine\n[core]\n\thooksPath = .hooks\n")
            .expect("write");
        let names = [".hooks", "mine", "more/x", "scripts", "side.gitconfig", "team.gitconfig", "tools"];
        assert_eq!(named(&host, &root), names.map(|name| Git::Named(name.into())));
    }
}
