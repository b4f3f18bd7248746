//! What the guest cannot change, whoever it is there: the files by which the host's Git would run what the guest wrote.

use crate::support::{Case, Limited, Who, World, cases, full};
use std::fs;
use std::path::{Path, PathBuf};

/// The host's Git in a world of its own.
fn git(world: &World, args: &[&str]) {
    let program = ["/usr/bin/git", "/usr/local/bin/git"].into_iter().find(|p| Path::new(p).exists()).expect("git");
    let identity = ["-c", "user.name=A Name", "-c", "user.email=a@example.org"];
    // Without the examples that distributions put into every repository: a boot copies them many times here.
    let done = world.command(program).env("GIT_TEMPLATE_DIR", world.path("template")).args(identity).args(args).done();
    assert_eq!(done.code(), Some(0), "git {args:?}: {done:?}");
}

/// A repository with two commits, a remote, a linked worktree and a submodule.
fn repository(who: Who) -> World {
    let world = World::new(who);
    world.write("template/hooks/example", "");
    world.write("template/info/exclude", "");
    world.write("p/a", "one\n");
    git(&world, &["init", "-q", "-b", "main"]);
    git(&world, &["add", "a"]);
    git(&world, &["commit", "-q", "-m", "one"]);
    git(&world, &["init", "-q", "--bare", "-b", "main", "remote"]);
    git(&world, &["remote", "add", "origin", "/workspace/remote"]);
    git(&world, &["push", "-q", "remote", "main"]);
    let remote = world.path("p/remote").to_str().expect("text").to_owned();
    git(&world, &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &remote, "sub-m"]);
    git(&world, &["commit", "-q", "-m", "two"]);
    git(&world, &["worktree", "add", "-q", "linked", "-b", "side"]);
    // Its paths are the host's, and the guest has the project elsewhere.
    world
}

/// The files by which Git executes something, with their bytes.
fn kept(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let names = [
        ".git/config",
        ".git/hooks",
        ".git/info/exclude",
        ".git/modules/sub-m/config",
        ".git/worktrees/linked/commondir",
        ".git/worktrees/linked/gitdir",
        "sub-m/.git",
        "linked/.git",
    ];
    let read = |name: &str| {
        let path = world.path("p").join(name);
        let bytes = match path.is_dir() {
            true => fs::read_dir(&path).expect("list").flatten().map(|e| e.file_name().len() as u8).collect(),
            false => fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}")),
        };
        (path, bytes)
    };
    names.map(read).to_vec()
}

const READ_ONLY: &str = "Read-only file system";

#[test]
fn git_works_in_the_guest_and_its_configuration_is_the_hosts() {
    let world = repository(Who::nth(1));
    let before = kept(&world);
    let id = "export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@e GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@e;";
    let case = |name, script: &str, out: &str| Case::out(name, format!("{id} {script}"), out);
    cases::check(
        &world,
        &[],
        &[
            case("status", "git status --porcelain | grep -v '??'; git log --format=%s", "two\none\n"),
            case("commit", "echo two >> a && git add a && git commit -q -m three && git log -1 --format=%s", "three\n"),
            case("switch", "git switch -q -c topic && git branch --show-current", "topic\n"),
            case(
                "rebase",
                "echo t > t && git add t && git commit -q -m topic && git rebase -q side && git log -2 --format=%s",
                "topic\nthree\n",
            ),
            case(
                "stash",
                "echo dirty >> a && git stash -q && git stash pop -q && tail -1 a; git checkout -q a",
                "dirty\n",
            ),
            case(
                "merge and tag",
                "git switch -q main && git merge -q topic && git tag v1 && git describe --tags",
                "v1\n",
            ),
            case("gc", "git gc -q 2>/dev/null; git fsck 2>&1 | grep -c error; true", "0\n"),
            case("push", "git push -q origin main && git -C remote log -1 --format=%s", "topic\n"),
            Case::has("push -u says what it could not do", format!("{id} git push -q -u origin topic 2>&1"), READ_ONLY),
            case("and pushed nevertheless", "git -C remote branch --list topic", "  topic\n"),
            case(
                "fetch",
                "git fetch -q origin && git rev-parse -q --verify origin/topic >/dev/null && echo ok",
                "ok\n",
            ),
            case("a new worktree", "git worktree add -q new -b new && git -C new log -1 --format=%s", "topic\n"),
            case("init elsewhere", "git init -q other && cd other && git config x.y z && git config x.y", "z\n"),
            case("clone", "git clone -q remote copy && git -C copy log -1 --format=%s", "topic\n"),
            Case::fails("config", "git config core.fsmonitor /workspace/evil", READ_ONLY),
            Case::fails("a hook", "echo evil > .git/hooks/post-checkout", READ_ONLY),
        ],
    );
    assert_eq!(kept(&world), before);
    git(&world, &["fsck"]);
}

/// Each leaves something that the host's Git would run or follow.
const ATTACKS: [(&str, &str); 22] = [
    ("configuration", "echo '[core] fsmonitor = /tmp/evil' >> .git/config"),
    ("configuration moved over", "cp .git/config .git/c && echo evil >> .git/c && mv .git/c .git/config"),
    ("configuration removed", "rm -f .git/config; [ ! -e .git/config ]"),
    ("configuration truncated", "truncate -s 0 .git/config"),
    ("configuration by link", "ln .git/config here && echo evil >> here"),
    ("lock of the configuration", "echo evil > .git/config.lock"),
    ("hook", "echo evil > .git/hooks/pre-commit"),
    ("hook moved in", "echo evil > h && mv h .git/hooks/pre-commit"),
    ("hook linked in", "echo evil > h2 && ln h2 .git/hooks/pre-commit"),
    ("hooks replaced", "mkdir hooks2 && mv .git/hooks .git/hooks.old && mv hooks2 .git/hooks"),
    ("hook made executable", "chmod +x .git/hooks/*"),
    ("attributes", "echo '* filter=evil' > .git/info/attributes"),
    ("commondir", "echo ../evil > .git/commondir"),
    ("configuration of the worktree", "echo evil > .git/config.worktree"),
    ("repository replaced", "cp -r .git .evil && mv .git .old && mv .evil .git"),
    (
        "repository exchanged",
        "mkdir e && python3 -c 'import ctypes,sys; l=ctypes.CDLL(None,use_errno=True); sys.exit(l.renameat2(-100,b\"e\",-100,b\".git\",2) != 0)'",
    ),
    ("submodule's configuration", "echo evil >> .git/modules/sub-m/config"),
    ("submodule's pointer", "echo 'gitdir: ../evil' > sub-m/.git"),
    ("submodule moved away", "mv sub-m sub-old"),
    ("worktree's common directory", "echo /workspace/evil > .git/worktrees/linked/commondir"),
    ("our settings", "echo '[request]' > .vmclaude.toml"),
    ("what the user lists", "echo evil >> deploy.sh"),
];

#[test]
fn nothing_that_git_executes_can_be_planted() {
    let world = repository(Who::nth(0));
    world.write("p/deploy.sh", "ours\n");
    world.configure("[protect]\npaths = ['deploy.sh']\n");
    let before = kept(&world);
    let attacks: Vec<Case> = ATTACKS.iter().map(|(name, script)| Case::fails(name, *script, "")).collect();
    cases::check(&world, &[], &attacks);
    assert_eq!(kept(&world), before);
    // The guest's root is nobody more to the share, and unmounting what lies over it leads nowhere either.
    world.configure("sudo = true\n[protect]\npaths = ['deploy.sh']\n");
    let as_root = |script: &str| format!("sudo -n bash -c '{}'", script.replace('\'', "'\\''"));
    let mut attacks: Vec<Case> = ATTACKS.iter().map(|(name, script)| Case::fails(name, as_root(script), "")).collect();
    attacks.push(Case::has("it is root", as_root("id -u"), "0"));
    let around = "cd /run/vmclaude/host/share/workspace && echo evil >> .git/config";
    attacks.push(Case::fails("by the share's own root", as_root(around), READ_ONLY));
    cases::check(&world, &[], &attacks);
    assert_eq!(kept(&world), before);
    assert!(!world.path("p/.vmclaude.toml").exists());
    assert_eq!(fs::read_to_string(world.path("p/deploy.sh")).expect("read"), "ours\n");
}

/// The same attacks work where nothing is protected: each in a world of its own would take too long, so each is undone.
#[test]
fn the_same_attacks_succeed_where_nothing_is_protected() {
    let world = repository(Who::nth(0));
    world.write("p/deploy.sh", "ours\n");
    world.configure("[protect]\nlevel = 'none'\n");
    let around = |script: &str| {
        format!(
            "cp -a /workspace /tmp/kept && ( {script} ) && find /workspace -mindepth 1 -delete && cp -a /tmp/kept/. /workspace/ && rm -rf /tmp/kept"
        )
    };
    // A copy there and back is slow where the machine is emulated.
    let some = if full() { 1 } else { 4 };
    let attacks = ATTACKS.iter().step_by(some).map(|(name, script)| Case::out(name, around(script), ""));
    let attacks: Vec<Case> = attacks.collect();
    cases::check(&world, &[], &attacks);
}

#[test]
fn what_the_host_changes_meanwhile_stays_protected() {
    let world = repository(Who::nth(1));
    let script = "touch ready; while [ ! -e done ]; do sleep 0.05; done; git config the.word || exit 3; \
                  echo evil >> .git/config && exit 4; mv .git/config .git/x && exit 5; echo evil > .git/hooks/new && exit 6; \
                  git config evil.yes 1 && exit 7; exit 0";
    let mut live = world.start(script);
    // A new file under the old name, and a directory that was not there.
    git(&world, &["config", "the.word", "mellon"]);
    fs::rename(world.path("p/.git/hooks"), world.path("p/.git/hooks.host")).expect("rename");
    fs::create_dir(world.path("p/.git/hooks")).expect("mkdir");
    world.write("p/done", "");
    let done = live.end();
    assert_eq!((done.code(), done.out().as_str()), (Some(0), "mellon\n"), "{done:?}");
    let config = fs::read_to_string(world.path("p/.git/config")).expect("read");
    assert!(config.contains("mellon") && !config.contains("evil"), "{config}");
    world.assert_clean();
}

#[test]
fn a_repository_can_be_made_where_there_is_none_unless_strict() {
    let world = World::new(Who::nth(0));
    world.write("p/.vscode/tasks.json", "{}");
    let make = "git init -q -b main && git config user.name A && git config user.email a@e && git add . && git commit -q -m first && git log --format=%s";
    cases::check(
        &world,
        &[],
        &[
            Case::out("init", make, "first\n"),
            Case::out("editors", "echo x > .vscode/tasks.json; cat .vscode/tasks.json", "x\n"),
        ],
    );
    fs::remove_dir_all(world.path("p/.git")).expect("rm");
    world.configure("[protect]\nlevel = 'strict'\n");
    let strict = [
        Case::fails("init", make, READ_ONLY),
        Case::fails("a link", "ln -s elsewhere .git", READ_ONLY),
        Case::fails("editors", "echo x > .vscode/tasks.json", READ_ONLY),
        Case::fails("tools", "echo x > .envrc", READ_ONLY),
        Case::out("everything else", "echo x > Makefile; cat Makefile", "x\n"),
    ];
    cases::check(&world, &[], &strict);
}
