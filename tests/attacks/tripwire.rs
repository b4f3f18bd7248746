//! The tripwire: whatever a guest plants that runs unasked on the host is told. The control of each: it is there.

use crate::support::{Limited, World};
use crate::table::Table;

const CLASS: &str = "tripwire";

/// Ways to plant something: what, the path that must be listed, and how it is made.
const PLANTED: [(&str, &str, &str); 41] = [
    ("direnv", ".envrc", "echo x > .envrc"),
    ("direnv, deep and in capitals", "x/1/2/3/4/5/.ENVRC", "mkdir -p x/1/2/3/4/5; echo x > x/1/2/3/4/5/.ENVRC"),
    ("direnv, inside node_modules", "node_modules/m/.envrc", "mkdir -p node_modules/m; echo x > node_modules/m/.envrc"),
    ("mise", "mise.toml", "echo x > mise.toml"),
    ("a task of mise", "mise-tasks/build", "mkdir -p mise-tasks; echo x > mise-tasks/build"),
    ("asdf", ".tool-versions", "echo x > .tool-versions"),
    ("tasks of VS Code", ".vscode/tasks.json", "mkdir -p .vscode; echo x > .vscode/tasks.json"),
    ("a workspace of VS Code", "w.code-workspace", "echo x > w.code-workspace"),
    ("JetBrains", ".idea/workspace.xml", "mkdir -p .idea; echo x > .idea/workspace.xml"),
    (
        "a dev container",
        ".devcontainer/devcontainer.json",
        "mkdir -p .devcontainer; echo x > .devcontainer/devcontainer.json",
    ),
    ("hooks of Claude Code", ".claude/settings.json", "mkdir -p .claude; echo x > .claude/settings.json"),
    (
        "local hooks of Claude Code",
        "y/.claude/settings.local.json",
        "mkdir -p y/.claude; echo x > y/.claude/settings.local.json",
    ),
    ("an MCP server", ".mcp.json", "echo x > .mcp.json"),
    ("memory of Claude Code", "CLAUDE.md", "echo x > CLAUDE.md"),
    ("Cursor", ".cursor/mcp.json", "mkdir -p .cursor; echo x > .cursor/mcp.json"),
    ("Codex", ".codex/config.toml", "mkdir -p .codex; echo x > .codex/config.toml"),
    ("a hook of husky", ".husky/pre-commit", "mkdir -p .husky; echo x > .husky/pre-commit"),
    ("pre-commit", ".pre-commit-config.yaml", "echo x > .pre-commit-config.yaml"),
    ("lefthook", "lefthook.yml", "echo x > lefthook.yml"),
    ("npm's scripts", "package.json", "echo x > package.json"),
    ("npm's settings", ".npmrc", "echo x > .npmrc"),
    ("pnpm", ".pnpmfile.cjs", "echo x > .pnpmfile.cjs"),
    ("make", "Makefile", "echo x > Makefile"),
    ("just", "justfile", "echo x > justfile"),
    ("cargo's runner", ".cargo/config.toml", "mkdir -p .cargo; echo x > .cargo/config.toml"),
    ("a build script of cargo", "build.rs", "echo x > build.rs"),
    ("pytest", "conftest.py", "echo x > conftest.py"),
    ("a path file of Python", "z/evil.pth", "mkdir -p z; echo x > z/evil.pth"),
    ("an interpreter of a virtual environment", ".venv/bin/python3", "mkdir -p .venv/bin; echo x > .venv/bin/python3"),
    ("Gradle", "gradlew", "echo x > gradlew"),
    ("vim", ".exrc", "echo x > .exrc"),
    ("gdb", ".gdbinit", "echo x > .gdbinit"),
    ("attributes of git", ".gitattributes", "echo x > .gitattributes"),
    ("CI", ".github/workflows/x.yml", "mkdir -p .github/workflows; echo x > .github/workflows/x.yml"),
    ("compose", "docker-compose.yml", "echo x > docker-compose.yml"),
    ("a link out of the project", "way-out", "ln -s /etc/passwd way-out"),
    ("a directory that is a link", ".vscode-server", "ln -s /etc .vscode-server"),
    ("a pipe that is read", "p1", "mkfifo p1"),
    ("a name that turns around", "a\\e2\\80\\aeb", "touch $'a\\u202eb'"),
    ("a name for the terminal", "\\1b[2J", "touch $'\\e[2J'"),
    ("another repository", "inner/.git", "mkdir -p inner/.git"),
];

pub(crate) fn script() -> String {
    PLANTED.iter().map(|(_, _, script)| format!("({script}); ")).collect()
}

pub(crate) fn afterwards(world: &World, table: &mut Table) {
    let listed = world.vmclaude(&["review"]).done().out();
    for (name, path, _) in PLANTED {
        let told =
            ["new", "changed"].iter().any(|word| listed.lines().any(|l| l.starts_with(&format!("{word} {path} ("))));
        let bytes = vmclaude::tripwire::names::bytes(path).expect("a name");
        let there = std::os::unix::ffi::OsStringExt::from_vec(bytes);
        let there: std::ffi::OsString = there;
        table.note(CLASS, name, !told, world.path("p").join(there).symlink_metadata().is_ok());
    }
}
