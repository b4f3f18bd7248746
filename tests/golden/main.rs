//! Texts that change only on purpose: the dry run of known values, and the help of every verb.
//!
//! `VMCLAUDE_GOLDEN=write cargo test --test golden` writes them anew; the difference is then read before it is committed.

use clap::CommandFactory;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vmclaude::cli::args::{Container, Vmclaude};
use vmclaude::engine::apple::{self, Wire, version::Version};
use vmclaude::engine::launch::{Launch, Qemu, Warm};
use vmclaude::engine::qemu::{self, Accel, Files, Life, Machine};
use vmclaude::engine::share;
use vmclaude::plan::auth::Auth;
use vmclaude::plan::network::Network;
use vmclaude::plan::protect::{self, Git, Protect};
use vmclaude::plan::state::{Home, State, setup};
use vmclaude::plan::{Identity, Limits, Place, Plan, User, Watch, mounts};
use vmclaude::report;
use vmclaude::screen::Clipboard;

#[track_caller]
#[allow(clippy::disallowed_methods)] // Host is for the program; this is a switch of the test
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("VMCLAUDE_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(&path, text).expect("write");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(a, b)| a != b);
    assert!(kept == text, "{} differs: {differs:?}\n{text}", path.display());
}

fn plan() -> Plan {
    let root = "/home/you/it's, a:shop";
    let state = State::of(Path::new("/home/you/.vm-claude"), "0123456789abcdef", Home::Project);
    let git = vec![Git::Directory(".git".into())];
    let identity = Some(Identity { dev: 1, ino: 2 });
    let place = Place { root: root.into(), rest: "sub".into(), identity, state, git };
    Plan {
        argv: ["claude", "-p", "say hi", "", "it's\n\u{fc}"].map(Into::into).to_vec(),
        cwd: "/workspace/sub".into(),
        mounts: [vec![mounts::project(&place)], place.state.mounts(Auth::Guest)].concat(),
        protected: protect::of(&Protect::default(), &place.git, "workspace"),
        local: None,
        watch: Watch::default(),
        links: mounts::links(Path::new(root)),
        env: [("ANTHROPIC_API_KEY", "a secret"), ("TERM", "xterm")].map(|(k, v)| (k.into(), v.into())).to_vec(),
        user: User { uid: 1001, gid: 100 },
        limits: Limits { cpus: None, memory: 4096 },
        ports: vec!["5173".parse().expect("a port"), "8080:80".parse().expect("ports")],
        clipboard: Clipboard::Deny,
        network: Network { allow_hosts: vec!["127.0.0.1:8080".parse().expect("an address")], ..Network::default() },
        setup: setup(vec![("/etc/gitconfig".into(), Vec::new())], None),
    }
}

fn launch(plan: &Plan, accel: Accel) -> Launch {
    let file = |name: &str| PathBuf::from("/home/you/.local/share/vmclaude/images/0001").join(name);
    let files = Files {
        kernel: file("vmlinux"),
        initrd: file("initrd.cpio"),
        base: file("base.erofs"),
        claude: file("claude.erofs"),
        scratch: file("scratch.ext4"),
    };
    let machine = Machine { qemu: "/usr/bin/qemu-system-x86_64".into(), accel, cores: 8, files };
    let share = share::program(Path::new("/usr/bin/vmclaude"), plan);
    let program =
        |life| qemu::program(&machine, &plan.limits, life, plan.local.as_ref().and_then(|l| l.volume.as_deref()));
    let template = PathBuf::from("/home/you/.cache/vmclaude/templates/0123456789abcdef");
    let warm =
        share.is_some().then(|| Box::new(Warm { best: template.clone(), template, machine: program(Life::Copy) }));
    Launch::Qemu(Qemu { machine: program(if share.is_some() { Life::Boot } else { Life::Trial }), warm, share })
}

#[test]
fn a_dry_run_with_kvm() {
    let plan = plan();
    let text = report::plan::text(&plan, &launch(&plan, Accel::Kvm));
    assert!(!text.contains("a secret"), "values are never shown");
    golden("dry-run-kvm.txt", &text);
}

#[test]
fn a_dry_run_without_kvm_or_directories() {
    let mut plan = plan();
    plan.mounts.clear();
    plan.links.clear();
    plan.ports.clear();
    plan.network.allow_hosts.clear();
    plan.limits = Limits { cpus: Some(3), memory: 512 };
    golden("dry-run-tcg.txt", &report::plan::text(&plan, &launch(&plan, Accel::Tcg)));
}

#[test]
fn a_dry_run_with_apples_container() {
    let container = apple::Container {
        program: "/usr/local/bin/container".into(),
        version: Version(1, 2, 2),
        image: "vmclaude:0001".into(),
        cores: 8,
        wire: Wire::Socket,
        caught: true,
        env: vec![("HOME".into(), "/Users/you".into())],
        owner: "0123456789abcdef".into(),
    };
    let text = report::plan::text(&plan(), &Launch::Apple(container));
    assert!(!text.contains("a secret"), "values are never shown");
    golden("dry-run-apple.txt", &text);
}

#[test]
fn the_help_of_every_verb() {
    let mut all = BTreeMap::new();
    // Wide, so that no terminal decides where lines break.
    let mut main = Vmclaude::command().term_width(100);
    all.insert("vmclaude".to_owned(), main.render_help().to_string());
    let verbs: Vec<String> = main.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for verb in verbs {
        let command = main.find_subcommand_mut(&verb).expect("a verb");
        let mut command = command.clone().term_width(100);
        let inner: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        all.insert(format!("vmclaude {verb}"), command.render_long_help().to_string());
        for name in inner {
            let inner = command.find_subcommand_mut(&name).expect("a verb");
            let help = inner.clone().term_width(100).render_long_help().to_string();
            all.insert(format!("vmclaude {verb} {name}"), help);
        }
    }
    all.insert("vmclaude-container".to_owned(), Container::command().term_width(100).render_long_help().to_string());
    let text: String = all.iter().map(|(name, help)| format!("=== {name} --help\n{}\n", help.trim_end())).collect();
    golden("help.txt", &text);
}
