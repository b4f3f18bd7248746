use super::answers::{self, Ours, Versions};
use super::*;
use crate::plan::{Limits, Mount, Network, User};

fn container() -> Container {
    Container {
        program: "/usr/local/bin/container".into(),
        version: Version(1, 2, 2),
        image: "vmclaude:1".into(),
        cores: 8,
        wire: Wire::Socket,
        caught: true,
        env: vec![("HOME".into(), "/Users/you".into())],
        owner: "0123456789abcdef".into(),
    }
}

fn mount(host: &str, guest: &str, writable: bool) -> Mount {
    Mount { host: host.into(), guest: guest.into(), tag: "t".into(), writable, coherent: false, identity: None }
}

fn plan(mounts: Vec<Mount>) -> Plan {
    Plan {
        local: None,
        watch: crate::plan::Watch::default(),
        argv: vec!["claude".into()],
        cwd: "/workspace".into(),
        mounts,
        links: Vec::new(),
        env: vec![("ANTHROPIC_API_KEY".into(), "a secret".into())],
        user: User { uid: 501, gid: 20 },
        limits: Limits { cpus: None, memory: 4096 },
        network: Network::default(),
        clipboard: crate::screen::Clipboard::Deny,
        setup: crate::plan::Setup::default(),
        ports: Vec::new(),
        protected: Vec::new(),
    }
}

fn place() -> Place {
    Place { id: "aBc12345".into(), dir: "/Users/you/run/aBc12345".into() }
}

fn words(container: &Container, plan: &Plan) -> Vec<String> {
    let run = run(container, plan, &place()).expect("a container");
    run.program.args.iter().map(|a| a.to_string_lossy().into_owned()).collect()
}

#[test]
fn a_container_has_pipes_a_name_labels_and_no_secret() {
    let all = words(&container(), &plan(vec![mount("/Users/you/shop", "/workspace", true)]));
    let text = all.join(" ");
    for part in [
        "run -i --rm --name vmclaude-aBc12345 -m 4096M -c 4 --label vmclaude.run=aBc12345",
        "--label vmclaude.state=0123456789abcdef --network none --progress none",
        "-v /Users/you/shop:/workspace -v /Users/you/run/aBc12345/wire.sock:/run/vmclaude/wire.sock -- vmclaude:1",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(text.ends_with("-- vmclaude:1"), "{text}");
    for never in ["-t", "-it", "-e", "--env", "--all"] {
        assert!(!all.iter().any(|a| a == never), "{never} in {text}");
    }
    assert!(!text.contains("secret") && !text.contains("ANTHROPIC"), "{text}");
}

#[test]
fn the_wire_may_be_stdin_and_stdout() {
    let stdio = Container { wire: Wire::Stdio, caught: false, ..container() };
    let all = words(&stdio, &plan(Vec::new()));
    assert_eq!(all[all.len() - 3..], ["--", "vmclaude:1", "stdio"]);
    let text = all.join(" ");
    assert!(!text.contains("wire.sock") && !text.contains("--cap-add"), "{text}");
}

#[test]
fn directories_are_spelt_as_their_characters_allow() {
    let spell = |host: &str| {
        let spelt = mounts::spell(&[mount(host, "/w", false)], Path::new("/run/x")).expect("can be shown");
        (spelt.args.iter().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>(), spelt.links)
    };
    for (host, flag, word, linked) in [
        ("/a b'c\"d,e=f", "-v", "/a b'c\"d,e=f:/w:ro", false),
        ("/a:b c", "--mount", "type=bind,source=/a:b c,target=/w,readonly", false),
        ("/a:b,c", "-v", "/run/x/mount0:/w:ro", true),
        ("/a:b=c", "-v", "/run/x/mount0:/w:ro", true),
        ("/\u{fc}ber/x", "-v", "/\u{fc}ber/x:/w:ro", false),
        // Its last letter and the colon would be one character to Swift.
        ("/x\u{600}", "-v", "/run/x/mount0:/w:ro", true),
        ("/tab\t/x", "-v", "/run/x/mount0:/w:ro", true),
    ] {
        let (args, links) = spell(host);
        assert_eq!(args, [flag, word], "{host}");
        assert_eq!(links.len(), usize::from(linked), "{host}");
    }
    let bytes: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(b"/a\xff".to_vec());
    let spelt = mounts::spell(&[Mount { host: bytes.into(), ..mount("", "/w", true) }], Path::new("/run/x"));
    assert_eq!(spelt.expect("can be shown").links.len(), 1);
}

#[test]
fn one_directory_has_one_mode() {
    let mixed = [mount("/p", "/workspace", true), mount("/p", "/again", false)];
    let refused = mounts::spell(&mixed, Path::new("/r")).expect_err("refused");
    assert_eq!(refused.code, crate::exit::REFUSED);
    let inside = [mount("/p", "/workspace", true), mount("/p/.git/hooks", "/workspace/.git/hooks", false)];
    assert!(mounts::spell(&inside, Path::new("/r")).is_ok());
}

#[test]
fn a_session_has_a_directory_that_can_be_spelt() {
    for (dir, plain) in
        [("/Users/you/Library/Application Support/vmclaude/run/x", true), ("/a:b/run", false), ("/a\u{600}b", true)]
    {
        assert_eq!(mounts::is_plain(Path::new(dir)), plain, "{dir}");
    }
    assert!(!mounts::is_plain(&Path::new("/").join("x".repeat(100))));
}

const VERSIONS: &[u8] = br#"[{"appName":"container","buildType":"release","commit":"abc","version":"1.2.2"},
 {"appName":"container-apiserver","version":"container-apiserver version 1.2.1 (build: release, commit: 1234abc)"}]"#;

#[test]
fn answers_of_every_known_version_are_understood() {
    let both = Versions { client: Version(1, 2, 2), server: Some(Version(1, 2, 1)) };
    assert_eq!(answers::versions(VERSIONS).expect("versions"), both);
    let down = br#"[{"appName":"container","version":"1.4.1","new":{"field":[]}}]"#;
    assert_eq!(answers::versions(down).expect("versions").server, None);
    // 1.0 to 1.2, not running, and 1.4.
    let flat = br#"{"apiServerAppName":"container-apiserver","apiServerVersion":"container-apiserver version 1.1.0","status":"running"}"#;
    let none = br#"{"apiServerAppName":"","appRoot":"","status":"unregistered"}"#;
    let nested =
        br#"{"client":{"version":"1.4.1"},"host":"x","paths":{},"resources":{},"server":{},"status":"running"}"#;
    assert_eq!([&flat[..], none, nested].map(|t| answers::runs(t).expect("a status")), [true, false, true]);
}

#[test]
fn an_image_has_a_digest_and_the_labels_of_its_variant() {
    let text = br#"[{"id":"ab","configuration":{"name":"vmclaude:1","creationDate":"2026-11-01T00:00:00Z",
      "descriptor":{"digest":"sha256:aa","mediaType":"m","size":1}},"variants":[
      {"platform":{"architecture":"amd64","os":"linux"},"digest":"sha256:b","size":1,"config":{}},
      {"platform":{"architecture":"arm64","os":"linux"},"digest":"sha256:c","size":1,
       "config":{"architecture":"arm64","config":{"Labels":{"vmclaude.wire":"2"}}}}]}]"#;
    let image = answers::image(text, "arm64").expect("an image");
    assert_eq!((image.digest.as_str(), image.labels["vmclaude.wire"].as_str()), ("sha256:aa", "2"));
    assert!(answers::image(text, "amd64").expect("an image").labels.is_empty());
    assert!(answers::image(text, "riscv64").is_err());
}

/// As 1.1.0 printed it, shortened, with labels of three owners.
fn listed(labels: &str) -> String {
    format!(
        r#"[{{"configuration":{{"capAdd":[],"creationDate":"2026-07-12T20:25:15Z","id":"vmclaude-x1",
        "image":{{"descriptor":{{"digest":"sha256:e","mediaType":"m","size":1}},"reference":"a\/x"}},
        "labels":{labels},"mounts":[]}},"id":"vmclaude-x1",
        "status":{{"networks":[],"startedDate":"2026-07-12T20:25:17Z","state":"running"}}}}]"#
    )
}

#[test]
fn only_containers_with_our_labels_and_our_name_are_ours() {
    let ours = |labels: &str| answers::ours(listed(labels).as_bytes(), "me").expect("a list");
    let found = Ours { name: "vmclaude-x1".into(), run: "x1".into(), state: "running".into() };
    assert_eq!(ours(r#"{"vmclaude.run":"x1","vmclaude.state":"me"}"#), [found]);
    for other in [
        "{}",
        r#"{"vmclaude.run":"x1"}"#,
        r#"{"vmclaude.run":"x1","vmclaude.state":"you"}"#,
        r#"{"vmclaude.run":"x2","vmclaude.state":"me"}"#,
    ] {
        assert_eq!(ours(other), [], "{other}");
    }
    assert_eq!(answers::ours(b"[]", "me").expect("a list"), []);
}

#[test]
fn a_project_has_one_volume_and_only_what_follows_from_its_labels_is_ours() {
    let mut plan = plan(vec![mount("/Users/you/shop", "/workspace", true)]);
    let text = |plan: &Plan| words(&container(), plan).join(" ");
    assert!(!text(&plan).contains("SYS_ADMIN"), "{}", text(&plan));
    plan.local = Some(crate::plan::Local {
        dirs: vec!["target".into()],
        volume: Some("/s/volumes/ab12.apple".into()),
        size: 1024,
    });
    let name = "vmclaude-0123456789abcdef-ab12";
    for part in ["--cap-add SYS_ADMIN", &format!("-v {name}:/run/vmclaude/host/volume ")] {
        assert!(text(&plan).contains(part), "{part:?} in {}", text(&plan));
    }
    plan.local = plan.local.map(|local| crate::plan::Local { volume: None, ..local });
    assert!(text(&plan).contains("SYS_ADMIN") && !text(&plan).contains(name), "what is thrown away is bound too");
    // As the source writes it.
    let listed = |name: &str, labels: &str| {
        let text = format!(
            r#"[{{"id":"{name}","configuration":{{"name":"{name}","driver":"local","format":"ext4","source":"\/a\/volume.img",
            "creationDate":"2026-11-01T00:00:00Z","labels":{labels},"options":{{"size":"1024M"}},"sizeInBytes":1073741824}}}}]"#
        );
        volumes::ours(text.as_bytes(), "0123456789abcdef").expect("a list")
    };
    let ours = r#"{"vmclaude.state":"0123456789abcdef","vmclaude.project":"ab12"}"#;
    let file = "/a/volume.img".into();
    let found = volumes::Volume { name: name.into(), project: "ab12".into(), file, size: 1 << 30 };
    assert_eq!(listed(name, ours), [found]);
    assert_eq!(listed("vmclaude-other-ab12", ours), [], "somebody copied our labels");
    assert_eq!(listed(name, r#"{"vmclaude.state":"another","vmclaude.project":"ab12"}"#), []);
    assert_eq!(listed(name, "{}"), []);
    assert!(volumes::ours(br#"[{"configuration":{"name":"x"}}]"#, "o").is_err());
}

#[test]
fn what_is_missing_is_named() {
    let missing = |e: Result<()>| e.expect_err("not an answer").because.join(" ");
    assert!(missing(answers::runs(b"{}").map(drop)).contains("`status`"));
    assert!(missing(answers::versions(b"[]").map(drop)).contains("empty"));
    assert!(missing(answers::versions(br#"[{"appName":"container"}]"#).map(drop)).contains("`version`"));
    assert!(missing(answers::image(br#"[{"configuration":{}}]"#, "arm64").map(drop)).contains("`descriptor`"));
    assert!(missing(answers::ours(br#"[{"id":"x"}]"#, "me").map(drop)).contains("`configuration`"));
    assert!(missing(answers::ours(b"oops", "me").map(drop)).contains("expected"));
}

#[test]
fn the_environment_of_a_call_is_always_the_same_few_names() {
    let host = [("HOME", "/Users/you"), ("CONTAINER_DEFAULT_PLATFORM", "linux/amd64"), ("ANTHROPIC_API_KEY", "secret")];
    let host = host.map(|(k, v)| (OsString::from(k), OsString::from(v))).into();
    let env = calls::environment(&host);
    let names: Vec<_> = env.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["HOME", "PATH"]);
}
