//! `auth = "host"`: the key is used by the guest and never in it. And the ssh agent, for whom it was opened.

use crate::support::api::Api;
use crate::support::{Limited, Who, World, full};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

const KEY: &str = "sk-ant-SECRET-of-the-test-0123456789";

/// Looks for the key wherever the guest's user can look; the words themselves do not hold it.
const SEARCH: &str = r#"
k='SECRET-of[-]the-test'
env | grep -l "$k" - | sed 's/.*/found in env/'
cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n' | grep -q "$k" && echo found in processes
grep -rqs "$k" ~ /tmp /run /etc /var/lib/vmclaude /workspace && echo found in files
for dir in /var/lib/vmclaude/*; do mountpoint -q "$dir" && echo "${dir##*/}"; done
:
"#;

/// A client that brings its own key, asks for what is not Claude Code's, and hides a header.
const ATTACK: &str = r#"
at=http://127.0.0.1:3129
for path in messages files messages/../files messages/%2e%2e/files organizations/api_keys; do
  set -- "$@" -o /dev/null $at/v1/$path
done
curl -s --noproxy '*' --path-as-is -w '%{http_code} ' -X POST -H 'x-api-key: attackers' \
  -H 'Authorization: Bearer attackers' -H 'Connection: x-api-key' -d '{}' "$@"
curl -s -o /dev/null -w '%{http_code}\n' --max-time 5 http://1.1.1.1/ || echo no network
"#;

fn world(auth: &str) -> (World, Api) {
    let world = World::new(Who::nth(1));
    let api = Api::new(&world.root);
    world.configure(&format!("auth = '{auth}'\n[network]\nmode = 'none'\n"));
    (world, api)
}

fn run(world: &World, api: &Api, script: &str) -> String {
    let mut command = world.vm(&["bash", "-c", script]);
    command.env("ANTHROPIC_API_KEY", KEY).env("ANTHROPIC_BASE_URL", format!("http://{}", api.addr));
    command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("CLAUDE_CODE_MAX_RETRIES", "0");
    let done = command.done();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.out()
}

#[test]
fn a_key_that_the_host_holds_works_and_is_nowhere_in_the_guest() {
    let (world, api) = world("host");
    let out = run(&world, &api, &format!("{ATTACK}\n{SEARCH}"));
    assert!(!out.contains("found"), "{out}");
    assert!(out.contains("200 403 403 403 403 000") && !out.contains("login"), "{out}");
    let seen = api.requests();
    assert!(!seen.contains("files") && !seen.contains("attackers") && !seen.contains("held-by-vmclaude"), "{seen}");
    let messages = api.messages();
    assert!(!messages.is_empty() && messages.iter().all(|request| request.contains(KEY)), "{messages:?}");
    if full() {
        let out = run(&world, &api, &format!("claude -p 'say hi'; {SEARCH}"));
        assert!(out.contains("hi from fake") && !out.contains("found"), "without any network: {out}");
    }
    // Nothing to hold: said before anything starts.
    let done = world.vmclaude(&["-p", "hi"]).done();
    done.assert_failure(64, &["no key to hold", "ANTHROPIC_API_KEY"]);
    world.assert_clean();
}

/// The control: the same search finds a key that is in the guest. And every other way to log in arrives there.
#[test]
fn a_key_in_the_guest_is_found() {
    let (world, api) = world("guest");
    let out = run(&world, &api, SEARCH);
    assert!(out.contains("found in env") && out.contains("found in processes") && out.contains("login"), "{out}");
    let others = [
        ("ANTHROPIC_AUTH_TOKEN", "of-a-token"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "of-oauth"),
        ("CLAUDE_CODE_USE_BEDROCK", "1"),
        ("AWS_BEARER_TOKEN_BEDROCK", "of-bedrock"),
        ("AWS_SECRET_ACCESS_KEY", "of-aws"),
        ("CLAUDE_CODE_USE_VERTEX", "1"),
        ("ANTHROPIC_VERTEX_PROJECT_ID", "of-vertex"),
    ];
    let done = world.vm(&["env"]).envs(others).done();
    for (name, value) in others {
        assert!(done.out().contains(&format!("{name}={value}\n")), "{name}: {done:?}");
        let kept = world.command("grep").args(["-rlF", value]).arg(world.state()).arg(world.guest_home()).done();
        assert!(value == "1" || kept.out().is_empty(), "{name} is kept in {kept:?}");
    }
    world.assert_clean();
}

/// An agent with one answer for each question.
fn agent(world: &World) -> (std::path::PathBuf, std::thread::JoinHandle<Vec<u8>>) {
    let socket = world.path("agent");
    let listener = UnixListener::bind(&socket).expect("bind");
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let seen = std::thread::spawn(move || {
        let mut kinds = Vec::new();
        let (mut stream, _) = listener.accept().expect("accept");
        let mut head = [0; 5];
        while stream.read_exact(&mut head).is_ok() {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            stream.read_exact(&mut vec![0; length - 1]).expect("read");
            kinds.push(head[4]);
            stream.write_all(&[0, 0, 0, 1, if head[4] == 13 { 14 } else { 12 }]).expect("write");
        }
        kinds
    });
    (socket, seen)
}

/// Asks for the keys, then to remove all, then for a signature; prints the kinds of the answers.
const ASK: &str = r#"python3 -c '
import os, socket
s = socket.socket(socket.AF_UNIX); s.connect(os.environ["SSH_AUTH_SOCK"])
for m in (b"\x0b", b"\x13", b"\x0d\0\0\0\x03abc\0\0\0\x01d\0\0\0\0"):
    s.sendall(len(m).to_bytes(4, "big") + m); print(s.recv(5)[4], end=" ")
'"#;

#[test]
fn the_ssh_agent_signs_where_it_was_opened_and_nowhere_else() {
    let world = World::new(Who::nth(1));
    let (socket, seen) = agent(&world);
    let ask = |world: &World, script: &str| {
        let done = world.vm(&["bash", "-c", script]).env("SSH_AUTH_SOCK", &socket).done();
        (done.code(), done.out())
    };
    assert_eq!(
        ask(&world, "echo $SSH_AUTH_SOCK; ls /run/vmclaude/agent.sock 2>/dev/null; true"),
        (Some(0), "\n".into())
    );
    let path = world.path("p").to_str().expect("text").to_owned();
    world.configure(&format!("[projects.\"{path}\"]\nssh_agent = true\n"));
    assert_eq!(ask(&world, ASK), (Some(0), "12 5 14 ".into()));
    assert_eq!(seen.join().expect("agent"), [11, 13], "nothing is added, removed or locked");
    let logs = world.vmclaude(&["session", "logs"]).done();
    assert!(logs.out().contains("the ssh agent signed with SHA256:"), "{logs:?}");
    std::fs::remove_file(socket).expect("rm");
    world.assert_clean();
}
