//! Logging in by a pasted code, once for all projects; and two machines that renew the same login at the same moment.

use crate::support::api::Api;
use crate::support::pty::Typist;
use crate::support::{Limited, Who, World, full, until};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The stand-in for the login servers (`fake_oauth.py`). Ends when dropped.
struct Login {
    port: u16,
    log: PathBuf,
    server: Child,
}

impl Login {
    fn new(world: &World, api: &Api) -> Login {
        let names = ["platform.claude.com", "api.anthropic.com", "claude.ai"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("certificate");
        world.write("p/ca.pem", cert.pem());
        world.write("q/ca.pem", cert.pem());
        let (key, log, port) =
            (world.write("key.pem", signing_key.serialize_pem()), world.path("oauth.log"), world.path("oauth.port"));
        let mut command = Command::new("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/fake_oauth.py"));
        command.arg("--cert").arg(world.path("p/ca.pem")).arg("--key").arg(key).arg("--log").arg(&log);
        command.arg("--port-file").arg(&port).args(["--api", &api.addr.port().to_string()]);
        let server = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("python3");
        let port = until("the login servers listen", || fs::read_to_string(&port).ok()?.parse().ok());
        Login { port, log, server }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn one_login_serves_all_projects_and_two_machines_that_renew_it() {
    if !full() {
        println!("skipped: some minutes under emulation (tests/run --full)");
        return;
    }
    let world = World::new(Who::nth(1));
    let api = Api::new(&world.root);
    let login = Login::new(&world, &api);
    world.configure(&format!("[network]\nallow_hosts = ['127.0.0.1:{}']\n", login.port));
    let quiet = "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_MAX_RETRIES=0 NODE_EXTRA_CA_CERTS=/workspace/ca.pem";
    let proxy = format!("http://127.0.0.1:{}", login.port);
    let script = |command: &str| format!("{quiet} HTTPS_PROXY={proxy} https_proxy={proxy}; {command}");
    let mut typist = Typist::new(&world);
    typist.keys(&format!("\"$V\" bash -c '{}'\n", script("claude auth login")));
    typist.wait("Paste code");
    typist.wait(">");
    typist.keys("the-code#the-state\r");
    typist.wait("Login successful");
    typist.wait(crate::support::pty::PROMPT);
    let file = world.guest_home().join("login/claude/.credentials.json");
    let kept = fs::read_to_string(&file).expect("the login is kept");
    assert!(kept.contains("refresh-1"), "{kept}");
    // It has run out, and two projects' machines find out at the same moment.
    let mut json: serde_json::Value = serde_json::from_str(&kept).expect("json");
    json["claudeAiOauth"]["expiresAt"] = 1000.into();
    fs::write(&file, json.to_string()).expect("write");
    let run = |project: &str| {
        world.vm(&["bash", "-c", &script("claude -p 'say hi'")]).current_dir(world.path(project)).live()
    };
    let mut both = ["p", "q"].map(run);
    for vm in &mut both {
        let done = vm.end();
        assert!(done.out().contains("hi from fake"), "{done:?}\n{}", login.log());
    }
    let log = login.log();
    assert!(!log.contains("REUSED"), "a refresh token counts once: {log}");
    assert_eq!(log.matches("refresh_token -> ").count(), 1, "one renews it, the other reads it: {log}");
    let kept = fs::read_to_string(&file).expect("the login is kept");
    let json: serde_json::Value = serde_json::from_str(&kept).expect("intact");
    assert_eq!(json["claudeAiOauth"]["refreshToken"], "refresh-2", "{kept}");
    world.assert_clean();
}
