//! Which files programs on the host run, or take orders from, without being asked: the names that the tripwire looks at.

mod lists;

use lists::{BUILDS, DIRS, FILES, GIT_DIRS, GIT_FILES, HEAVY, HOME_DIRS, HOME_FILES, HOME_NEVER};

/// Which tree a path lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The project.
    Project,
    /// The guest's home.
    Home,
    /// The git directory outside of the project.
    Git,
}

/// Who runs the file at this path (lower case, by components from the tree's root); `None`: nobody unasked.
pub fn who(side: Side, path: &[String]) -> Option<&'static str> {
    match side {
        Side::Project => project(path),
        Side::Home => home(path),
        Side::Git => Some("git"),
    }
}

fn project(path: &[String]) -> Option<&'static str> {
    let (name, dirs) = path.split_last()?;
    if let Some(git) = dirs.iter().position(|d| d == ".git") {
        let hook = dirs[git..].iter().any(|d| d == "hooks") && !name.ends_with(".sample");
        return (hook || GIT_FILES.contains(&name.as_str())).then_some("git");
    }
    let in_dirs = |(dir, who): &(&str, &'static str)| dirs.iter().any(|d| d == dir).then_some(*who);
    let named = |list: &[(&str, &'static str)]| list.iter().find(|(n, _)| n == name).map(|(_, who)| *who);
    let heavy = dirs.iter().any(|d| HEAVY.contains(&d.as_str()));
    let build = || {
        let compose = name.starts_with("docker-compose") && (name.ends_with(".yml") || name.ends_with(".yaml"));
        named(&BUILDS).or(compose.then_some("docker"))
    };
    let python = || {
        let program =
            dirs.last().is_some_and(|d| d == "bin") && (name.starts_with("python") || name.starts_with("activate"));
        (program || name.ends_with(".pth")).then_some("Python")
    };
    let code = name.ends_with(".code-workspace").then_some("VS Code");
    DIRS.iter()
        .find_map(in_dirs)
        .or_else(|| named(&FILES))
        .or(code)
        .or_else(python)
        .or_else(|| if heavy { None } else { build() })
}

fn home(path: &[String]) -> Option<&'static str> {
    let whole = path.join("/");
    let inside = |dir: &str| whole.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
    let python = whole.starts_with(".local/lib/") && (whole.ends_with(".pth") || whole.ends_with("customize.py"));
    (HOME_FILES.contains(&whole.as_str()) || HOME_DIRS.iter().any(|d| inside(d)) || python)
        .then_some("the next session")
}

/// Whether the walk looks into the directory at this path.
pub fn enter(side: Side, path: &[String]) -> bool {
    match side {
        // Of this one only protected paths are looked at, and not by the walk.
        Side::Git => false,
        Side::Home => !HOME_NEVER.contains(&path.join("/").as_str()),
        Side::Project => match path.iter().position(|d| d == ".git") {
            // In a git directory only what can hold orders; below `modules` lie git directories again.
            Some(git) => path[git + 1..].first().is_none_or(|first| {
                GIT_DIRS.contains(&first.as_str())
                    && !path[git + 1..].iter().any(|d| matches!(d.as_str(), "objects" | "refs" | "logs" | "lfs"))
            }),
            None => true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(side: Side, path: &str) -> Option<&'static str> {
        who(side, &path.to_lowercase().split('/').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_runs_unasked_is_known_at_any_depth_and_in_any_case() {
        for (path, runs) in [
            (".envrc", "direnv, on cd"),
            ("a/b/c/d/e/f/.ENVRC", "direnv, on cd"),
            ("node_modules/x/.envrc", "direnv, on cd"),
            (".vscode/tasks.json", "VS Code"),
            ("a/.claude/settings.local.json", "claude on the host"),
            (".Mcp.json", "claude on the host"),
            ("package.json", "npm scripts"),
            ("Makefile", "make"),
            (".git/hooks/pre-commit", "git"),
            (".git/config", "git"),
            (".git/modules/x/config", "git"),
            ("x.code-workspace", "VS Code"),
            (".venv/bin/python3", "Python"),
            ("x/a.pth", "Python"),
            ("docker-compose.prod.yml", "docker"),
            (".github/workflows/x.yml", "CI"),
            (".cargo/config.toml", "cargo"),
        ] {
            assert_eq!(of(Side::Project, path), Some(runs), "{path}");
        }
        for path in [
            "src/main.rs",
            "node_modules/x/package.json",
            "envrc",
            ".git/hooks/x.sample",
            ".git/HEAD",
            "target/debug/build.rs",
        ] {
            assert_eq!(of(Side::Project, path), None, "{path}");
        }
    }

    #[test]
    fn the_home_counts_by_place() {
        for path in [
            ".bashrc",
            ".local/bin/x",
            ".claude/settings.json",
            ".claude/skills/a/b",
            ".config/git/config",
            ".ssh/config",
        ] {
            assert!(of(Side::Home, path).is_some(), "{path}");
        }
        for path in [".claude/projects/x", "a/.bashrc", ".local/binx", ".claude.json"] {
            assert_eq!(of(Side::Home, path), None, "{path}");
        }
    }

    #[test]
    fn git_directories_are_entered_only_where_orders_lie() {
        let enter = |path: &str| enter(Side::Project, &path.split('/').map(str::to_owned).collect::<Vec<_>>());
        assert!(
            enter(".git")
                && enter(".git/hooks")
                && enter(".git/modules/x/hooks")
                && enter("src")
                && enter("node_modules")
        );
        assert!(
            !enter(".git/objects") && !enter(".git/refs") && !enter(".git/modules/x/objects") && !enter(".git/lfs")
        );
    }
}
