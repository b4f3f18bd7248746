//! Every command line that the driver for Apple's `container` can produce is one that the double's parser accepts, and means
//! there what it means to the driver. The parser is as strict as the real one, and stricter where we must not go.
#![allow(dead_code)] // The double uses the rest.

#[path = "../apple/src/cli.rs"]
mod cli;
#[path = "../apple/src/run_words.rs"]
mod run_words;

use cli::{Parsed, Spec, Words};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::Config;
use run_words::Kind;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use vmclaude::engine::apple::{self, Container, Place, Wire, calls, version::Version, volumes};
use vmclaude::plan::{Limits, Local, Mount, Network, Plan, Protected, Setup, User, Watch};

static SPEC: LazyLock<Spec> = LazyLock::new(Spec::load);

/// Bytes as a program receives them: Swift mends what is no text.
fn parse(args: &[OsString]) -> Result<Parsed, String> {
    let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    match SPEC.parse(&words) {
        Words::Run(parsed) => Ok(parsed),
        other => Err(format!("{words:?}: {other:?}")),
    }
}

/// Anything that a directory can be called.
fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        3 => "[a-z ]{1,8}",
        3 => "[-:,='\"$\\\\a\u{fc}\u{600}\u{301}\u{200d}]{1,6}",
        1 => any::<String>(),
    ];
    let bytes = prop_oneof![
        6 => name.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ];
    prop::collection::vec(bytes, 1..4).prop_map(|names| {
        let mut all = Vec::new();
        for name in names {
            all.push(b'/');
            all.extend(name.into_iter().map(|b| if b == 0 || b == b'/' || b == b'\n' { b'x' } else { b }));
        }
        // Nothing is left of an empty name.
        if all.ends_with(b"/") {
            all.push(b'y');
        }
        PathBuf::from(OsString::from_vec(all))
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let env = prop::collection::vec(("[A-Z_]{1,9}", "SECRET[a-z]{0,9}"), 0..4);
    let extra = prop::collection::vec((path(), any::<bool>()), 0..4);
    let own = prop::collection::vec("[a-z]{1,9}", 0..3);
    let protected = prop::collection::vec("[.a-z]{1,3}/[-a-z :,=]{1,9}", 0..3);
    let local = prop::option::of(prop::option::of(("[0-9a-f]{16}", 512u64..(1 << 20))));
    (path(), path(), extra, env, 512u64..(1 << 20), prop::option::of(1u32..65), (own, local), protected).prop_map(
        |(project, home, extra, env, memory, cpus, (own, local), protected)| {
            let mount = |host: PathBuf, guest: String, writable| Mount {
                host,
                guest: guest.into(),
                tag: "t".into(),
                writable,
                coherent: false,
                identity: None,
            };
            let mut mounts = vec![
                Mount { tag: "workspace".into(), ..mount(project, "/workspace".into(), true) },
                mount(home, "/home/claude".into(), true),
            ];
            let extra = extra.into_iter().enumerate();
            mounts.extend(extra.map(|(n, (host, writable))| mount(host, format!("/mnt/{n}"), writable)));
            Plan {
                local: local.map(|kept| Local {
                    dirs: vec!["node_modules".into()],
                    size: kept.as_ref().map_or(512, |(_, size)| *size),
                    volume: kept.map(|(key, _)| format!("/state/volumes/{key}.apple").into()),
                }),
                watch: Watch::default(),
                argv: vec!["claude".into(), "---".into(), "--rm".into()],
                cwd: "/workspace".into(),
                mounts,
                links: Vec::new(),
                env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
                user: User { uid: 501, gid: 20 },
                limits: Limits { cpus, memory },
                network: Network::default(),
                clipboard: vmclaude::screen::Clipboard::Deny,
                setup: Setup {
                    own: own.into_iter().map(|n| format!("/home/claude/{n}").into()).collect(),
                    ..Setup::default()
                },
                ports: Vec::new(),
                protected: protected
                    .into_iter()
                    .map(|p| Protected { tag: "workspace".into(), path: p.into(), exact: false })
                    .collect(),
            }
        },
    )
}

fn container() -> impl Strategy<Value = Container> {
    let wire = prop_oneof![Just(Wire::Socket), Just(Wire::Stdio)];
    (wire, any::<bool>(), 1u32..256, "[0-9a-f]{16}").prop_map(|(wire, caught, cores, owner)| Container {
        program: "/usr/local/bin/container".into(),
        version: Version(1, 2, 2),
        image: "vmclaude:0001".into(),
        cores,
        wire,
        caught,
        env: Vec::new(),
        owner,
    })
}

/// Where the driver's links lead, and what paths on this host are.
fn kind(links: &[(PathBuf, PathBuf)], path: &Path, socket: &Path) -> Option<Kind> {
    let known = |p: &Path| links.iter().any(|(link, _)| link == p);
    match path == socket {
        true => Some(Kind::Socket),
        false => (known(path) || path.is_absolute()).then_some(Kind::Directory),
    }
}

proptest! {
    #![proptest_config(Config { cases: 3000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_container_is_accepted_and_is_the_one_that_was_meant(
        plan in plan(), container in container(), id in "[a-zA-Z0-9]{8}"
    ) {
        let dir = PathBuf::from(format!("/Users/you/it's, =here/{id}"));
        prop_assert!(apple::mounts::is_plain(&dir));
        let place = Place { id, dir: dir.clone() };
        // One directory with two modes is refused by us, before anything is started.
        let Ok(run) = apple::run(&container, &plan, &place) else {
            let mixed = |m: &Mount| plan.mounts.iter().any(|o| o.host == m.host && o.writable != m.writable);
            prop_assert!(plan.mounts.iter().any(mixed));
            return Ok(());
        };
        let parsed = parse(&run.program.args).map_err(proptest::test_runner::TestCaseError::fail)?;
        prop_assert_eq!(&parsed.command, "run");
        for never in ["tty", "env", "env-file", "detach", "publish", "ssh", "publish-socket"] {
            prop_assert!(!parsed.has(never), "{}", never);
        }
        run_words::name(parsed.value("name").unwrap_or_default()).expect("a name");
        let socket = dir.join(apple::SOCKET);
        let made = run_words::container(&SPEC, &parsed, &|p| kind(&run.links, p, &socket));
        let made = made.map_err(|(_, e)| proptest::test_runner::TestCaseError::fail(e))?;
        prop_assert_eq!(made.memory >> 20, plan.limits.memory);
        prop_assert_eq!(made.cpus, i64::from(plan.limits.cpus_for(false, container.cores)));
        prop_assert_eq!(made.sockets.len(), usize::from(container.wire == Wire::Socket));
        prop_assert_eq!(made.directories.len(), plan.mounts.len());
        let volume = plan.volume().map(|lock| (apple::volumes::name_of(&container.owner, lock), apple::volumes::GUEST));
        let named = made.volumes.iter().map(|v| (v.name.clone(), v.destination.as_str()));
        prop_assert_eq!(named.collect::<Vec<_>>(), Vec::from_iter(volume));
        prop_assert_eq!(made.cap_add.iter().any(|cap| cap == "SYS_ADMIN"), plan.local.is_some());
        for mount in &plan.mounts {
            let same = |m: &&run_words::Mount| Path::new(&m.destination) == mount.guest;
            let found = made.directories.iter().find(same).expect("its destination");
            let link = run.links.iter().find(|(link, _)| *link == found.source).map(|(_, to)| to);
            prop_assert_eq!(link.unwrap_or(&found.source), &mount.host);
            prop_assert_eq!(found.read_only, !mount.writable);
        }
        let paths = plan.protected.iter().map(|p| format!("/workspace/{}", p.path.display()));
        prop_assert_eq!(made.read_only_paths, paths.collect::<Vec<_>>());
        let text = format!("{:?}", run.program.args);
        prop_assert!(!text.contains("SECRET"), "{}", text);
    }

    #[test]
    fn every_other_call_is_accepted(name in "vmclaude-[a-zA-Z0-9]{8}", mib in 512u64..(1 << 20), packages in "[a-z0-9+. -]{0,20}", context in path()) {
        let labels = BTreeMap::from([("vmclaude.wire".to_owned(), "2".to_owned())]);
        let packages = packages.trim();
        let build = calls::Build {
            context: &context, arch: "arm64", reference: "vmclaude:0001", claude: "2.1.330", anew: "1", packages, labels: &labels, fresh: true
        };
        let all = [
            calls::version(), calls::status(), calls::start(), calls::start_with_kernel(), calls::list(),
            calls::image("vmclaude:0001"), calls::remove_image("vmclaude:0001"), calls::delete(&name), calls::build(&build),
            volumes::list(), volumes::create("0123456789abcdef", "0123456789abcdef", mib), volumes::delete(&name),
        ];
        for call in all {
            let parsed = parse(&call.args).map_err(proptest::test_runner::TestCaseError::fail)?;
            prop_assert!(!parsed.command.contains("prune"));
            prop_assert!(!parsed.has("all") || parsed.command == "list", "--all is for looking only");
            let size = parsed.value("s").map(|size| run_words::size(size).expect("a size"));
            prop_assert_eq!(size, (parsed.command == "volume create").then_some(mib << 20));
            prop_assert!(call.limit.as_secs() > 0);
        }
    }
}

#[test]
fn a_word_that_the_parser_refuses_is_noticed() {
    assert!(parse(&["run".into(), "-m4g".into(), "img".into()]).is_err());
    assert!(
        parse(&[OsStr::new("delete").into()]).is_ok_and(|p| p.positionals.is_empty()),
        "a matter of the command itself"
    );
}
