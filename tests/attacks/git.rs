//! Git's metadata: whatever makes the host's git run something, or write where it should not.

use crate::guest::Attack;
use crate::support::{Limited, World};
use crate::table::Table;
use std::fs;
use std::path::{Path, PathBuf};

const CLASS: &str = "git";

/// The host's git.
pub(crate) fn git(world: &World, args: &[&str]) -> crate::support::Done {
    let program = ["/usr/bin/git", "/usr/local/bin/git"].into_iter().find(|p| Path::new(p).exists()).expect("git");
    let identity = ["-c", "user.name=A Name", "-c", "user.email=a@example.org"];
    world.command(program).env("GIT_TEMPLATE_DIR", world.path("template")).args(identity).args(args).done()
}

/// A repository with a submodule and a linked worktree, and a copy of it for the controls.
pub(crate) fn prepare(world: &World) {
    let ok = |args: &[&str]| {
        let done = git(world, args);
        assert_eq!(done.code(), Some(0), "git {args:?}: {done:?}");
    };
    world.write("template/info/exclude", "");
    world.write("template/hooks/example", "");
    world.write("p/a", "one\n");
    ok(&["init", "-q", "-b", "main"]);
    world.write("p/team.gitconfig", "");
    ok(&["add", "a", "team.gitconfig"]);
    ok(&["commit", "-q", "-m", "one"]);
    ok(&["init", "-q", "--bare", "-b", "main", "../bare"]);
    ok(&["push", "-q", "../bare", "main"]);
    let bare = world.path("bare").to_str().expect("text").to_owned();
    ok(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &bare, "sub-m"]);
    ok(&["commit", "-q", "-m", "two"]);
    ok(&["worktree", "add", "-q", "linked", "-b", "side"]);
    ok(&["config", "include.path", "../team.gitconfig"]);
    // The world's user may not make names in its root.
    let copy = std::process::Command::new("cp").arg("-a").arg(world.path("p")).arg(world.path("pristine")).status();
    assert!(copy.expect("cp").success());
}

/// Writes a key into a file of git's configuration, and looks whether it is there.
fn key(file: &str, section: &str, line: &str) -> String {
    format!("printf '[{section}]\\n{line} = touch evil-ran\\n' >> {file}; grep -q evil-ran {file}")
}

/// Keys by which git executes something.
fn keys() -> Vec<Attack> {
    let config = |name, section: &str, line: &str| Attack::new(CLASS, name, key(".git/config", section, line));
    vec![
        config("core.fsmonitor", "core", "fsmonitor"),
        config("core.hooksPath", "core", "hooksPath"),
        config("core.pager", "core", "pager"),
        config("core.sshCommand", "core", "sshCommand"),
        config("core.editor", "core", "editor"),
        config("diff.external", "diff", "external"),
        config("a clean filter", "filter \"x\"", "clean"),
        config("a textconv", "diff \"x\"", "textconv"),
        config("a merge driver", "merge \"x\"", "driver"),
        config("credential.helper", "credential", "helper"),
        config("gpg.program", "gpg", "program"),
        config("an alias", "alias", "x"),
        config("include.path", "include", "path"),
        config("url.insteadOf", "url \"ext::sh -c evil\"", "insteadOf"),
    ]
}

pub(crate) fn attacks() -> Vec<Attack> {
    let new = |name, script: &str| Attack::new(CLASS, name, script);
    let mut all = keys();
    all.extend([
        new(
            "configuration by rename",
            "cp .git/config .git/c && echo evil >> .git/c && mv -f .git/c .git/config && grep -q evil .git/config",
        ),
        new(
            "configuration by hard link",
            "rm -f here; ln .git/config here && echo evil >> here && grep -q evil .git/config",
        ),
        new(
            "configuration by a symbolic link in its place",
            "echo evil > other && ln -sfn ../other .git/config && grep -q evil .git/config",
        ),
        new(
            "configuration through a mapping",
            "python3 -c 'import mmap\nf=open(\".git/config\",\"r+b\"); m=mmap.mmap(f.fileno(),0); m[0:1]=b\"e\"; m.flush()'",
        ),
        new("configuration truncated", "truncate -s 0 .git/config && [ ! -s .git/config ]"),
        new("configuration unlinked", "rm -f .git/config; [ ! -e .git/config ]"),
        new("configuration's lock", "echo evil > .git/config.lock && grep -q evil .git/config.lock"),
        new(
            "configuration by fallocate",
            "fallocate -l 100000 .git/config && [ $(stat -c %s .git/config) -ge 100000 ]",
        ),
        new(
            "configuration by an extended attribute",
            "python3 -c 'import os; os.setxattr(\".git/config\", \"user.evil\", b\"1\")'",
        ),
        new(
            "the worktree's own configuration",
            "echo evil > .git/config.worktree && grep -q evil .git/config.worktree",
        ),
        new("commondir", "echo ../evil > .git/commondir && grep -q evil .git/commondir"),
        new("a hook", "echo evil > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit"),
        new("a hook moved in", "echo evil > h1 && mv h1 .git/hooks/post-checkout"),
        new("a hook linked in", "echo evil > h2; ln h2 .git/hooks/post-merge"),
        new("hooks replaced by a link", "mkdir -p evil-hooks; mv .git/hooks .git/h && ln -s ../evil-hooks .git/hooks"),
        new(
            "attributes of the repository",
            "echo '* filter=x' > .git/info/attributes && grep -q x .git/info/attributes",
        ),
        new(
            "the repository renamed away",
            "cp -r .git .git-evil && mv .git .git-old && mv .git-evil .git && mv .git .git-evil2 && mv .git-old .git",
        ),
        new(
            "the repository exchanged",
            "mkdir -p ex && python3 -c 'import ctypes,sys; l=ctypes.CDLL(None); sys.exit(l.renameat2(-100,b\"ex\",-100,b\".git\",2) != 0)'",
        ),
        new("a submodule's configuration", &key(".git/modules/sub-m/config", "core", "fsmonitor")),
        new("a submodule's hook", "mkdir -p .git/modules/sub-m/hooks; echo evil > .git/modules/sub-m/hooks/pre-commit"),
        new("a submodule's pointer", "echo 'gitdir: ../evil' > sub-m/.git && grep -q evil sub-m/.git"),
        new("a submodule moved away", "mv sub-m sub-old && mv sub-old sub-m"),
        new(
            "a worktree's common directory",
            "echo /evil > .git/worktrees/linked/commondir && grep -q evil .git/worktrees/linked/commondir",
        ),
        new("a worktree's pointer", "echo 'gitdir: evil' > linked/.git && grep -q evil linked/.git"),
        // Where `.git` is no repository (its HEAD is the guest's to change), git asks the directory around it.
        new("the project itself as a repository", "cp .git/HEAD HEAD && grep -q ref HEAD"),
        new("a submodule's directory as one", "cp .git/HEAD sub-m/HEAD && grep -q ref sub-m/HEAD"),
        Attack::new(CLASS, "configuration that is included", key("team.gitconfig", "core", "fsmonitor")),
        new("our own settings", "echo '[request]' > .vmclaude.toml && grep -q request .vmclaude.toml"),
    ]);
    all
}

/// Files that the host's git takes orders from, with their bytes.
pub(crate) fn picture(world: &World) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let names = [
        ".git/config",
        ".git/config.worktree",
        ".git/commondir",
        ".git/hooks/pre-commit",
        ".git/info/attributes",
        ".git/modules/sub-m/config",
        ".git/worktrees/linked/commondir",
        "sub-m/.git",
        "linked/.git",
        ".vmclaude.toml",
        "HEAD",
        "sub-m/HEAD",
        "team.gitconfig",
    ];
    names.iter().map(|name| (world.path("p").join(name), fs::read(world.path("p").join(name)).ok())).collect()
}

/// Nothing that git takes orders from is another, and what a person types afterwards runs nothing.
pub(crate) fn afterwards(world: &World, before: &[(PathBuf, Option<Vec<u8>>)], table: &mut Table) {
    assert_eq!(picture(world), before);
    for args in [&["status"][..], &["diff"], &["log", "-p", "-1"], &["stash"], &["checkout", "-q", "--", "."]] {
        git(world, args);
    }
    assert!(!world.path("p/evil-ran").exists(), "something ran on the host");
    open(world, table);
}

/// What is known to be open. Each is done as a guest would do it, straight in the project: nothing keeps a guest from it.
fn open(world: &World, table: &mut Table) {
    // A crafted index: the host's git writes where it says, outside of the project.
    let crafted = "import hashlib,struct,subprocess as s,os\n\
        oid=s.check_output(['git','hash-object','-w','--stdin'],input=b'evil\\n').strip().decode()\n\
        n=b'../outside.sh'; e=bytes(24)+struct.pack('>I',0o100644)+bytes(12)+bytes.fromhex(oid)+struct.pack('>H',len(n))+n\n\
        e+=bytes(8-len(e)%8); b=b'DIRC'+struct.pack('>II',2,1)+e\n\
        open('.git/index','wb').write(b+hashlib.sha1(b).digest())";
    let program = world.command("python3").args(["-c", crafted]).done();
    assert_eq!(program.code(), Some(0), "{program:?}");
    let shown = git(world, &["ls-files"]).out();
    git(world, &["checkout", "--", "."]);
    // Whether this git writes it is git's matter; that a guest can plant it is ours.
    table.note(CLASS, "a crafted index", shown.contains("../outside.sh"), true);
    table.is_open("a crafted index");
    // A repository inside, which is one more than there was before: git status asks it.
    let nested = "mkdir -p nested/.git && git init -q nested && printf '[core]\\nfsmonitor = touch evil-ran\\n' >> nested/.git/config";
    let made = world.command("bash").args(["-c", nested]).done();
    table.note(CLASS, "a repository inside the project", made.code() == Some(0), true);
    table.is_open("a repository inside the project");
    let bare = "mkdir -p b && cd b && mkdir -p objects refs && echo 'ref: refs/heads/main' > HEAD && printf '[core]\\nbare = true\\nfsmonitor = x\\n' > config";
    table.note(
        CLASS,
        "an embedded bare repository",
        world.command("bash").args(["-c", bare]).done().code() == Some(0),
        true,
    );
    table.is_open("an embedded bare repository");
    let todo = "mkdir -p .git/rebase-merge && echo 'exec touch evil-ran' > .git/rebase-merge/git-rebase-todo";
    table.note(
        CLASS,
        "a rebase to be continued",
        world.command("bash").args(["-c", todo]).done().code() == Some(0),
        true,
    );
    table.is_open("a rebase to be continued");
}
