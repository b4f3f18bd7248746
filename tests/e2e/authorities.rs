//! A company's network: what a certificate authority of the host's own has signed is trusted in the guest too, by each
//! program in its own way, and without that authority by none.

use crate::support::cases::{self, Case};
use crate::support::{Engine, Who, World, full};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Where Debian keeps all that is trusted.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What the server says, by the end of a request's path; anything else is the song.
const PAGES: [(&str, &str); 4] = [
    ("/info/refs?service=git-upload-pack", "0123456789012345678901234567890123456789\trefs/heads/main\n"),
    ("/HEAD", "ref: refs/heads/main\n"),
    ("/simple/canary/", "<a href=\"/canary-1.0.0-py3-none-any.whl\">canary-1.0.0-py3-none-any.whl</a>"),
    (
        "/canary",
        r#"{"name":"canary","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"canary","version":"1.0.0","dist":{"tarball":"https://localhost/x.tgz"}}}}"#,
    ),
];

/// A server at loopback whose certificate a new authority has signed: its port, and that authority's certificate.
fn company() -> (u16, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "a company's authority");
    let key = KeyPair::generate().expect("key");
    let authority = params.self_signed(&key).expect("authority");
    let own = KeyPair::generate().expect("key");
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let own_params = CertificateParams::new(names).expect("params");
    let cert = own_params.signed_by(&own, &Issuer::from_params(&params, &key)).expect("certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let private = PrivateKeyDer::try_from(own.serialize_der()).expect("key");
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], private).expect("certificate"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // Who does not trust it breaks off.
            std::thread::spawn(move || drop(answer(tcp, config)));
        }
    });
    (port, authority.pem())
}

fn answer(tcp: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, tcp);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tls.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let page = PAGES.iter().find(|(end, _)| path.ends_with(end)).map_or("the canary sings", |(_, page)| page);
    let kind = if page.starts_with('<') { "text/html" } else { "application/json" };
    let headers = format!("Connection: close\r\nContent-Type: {kind}\r\nContent-Length: {}", page.len());
    write!(tls, "HTTP/1.1 200 OK\r\n{headers}\r\n\r\n{page}")?;
    tls.conn.send_close_notify();
    tls.flush()
}

/// Each program: its name, what it runs, what it says when it trusts the server, and what when it does not.
fn clients(port: u16) -> Vec<(&'static str, String, &'static str, &'static str)> {
    let url = format!("https://localhost:{port}");
    let python = format!("python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}/\").read().decode())'");
    let fetch = format!(
        "fetch(\"{url}/\").then(r => r.text()).then(console.log, e => {{ console.log(e.cause.code); process.exit(1) }})"
    );
    let mut clients = vec![
        ("curl", format!("curl -sS -m 30 {url}/"), "the canary sings", "curl: (60)"),
        ("git", format!("git ls-remote {url}/repo.git"), "refs/heads/main", "certificate"),
        ("node", format!("node -e '{fetch}'"), "the canary sings", "UNABLE_TO"),
        ("python", python.clone(), "the canary sings", "CERTIFICATE_VERIFY_FAILED"),
        (
            "python without variables",
            format!("env -i PATH=$PATH {python}"),
            "the canary sings",
            "CERTIFICATE_VERIFY_FAILED",
        ),
    ];
    if full() {
        // Each takes its time under emulation.
        clients.extend([
            (
                "pip",
                format!("python3 -m pip index versions canary --retries 0 -i {url}/simple/ 2>&1"),
                "canary (1.0.0)",
                "CERTIFICATE_VERIFY_FAILED",
            ),
            ("npm", format!("npm view canary version --fetch-retries=0 --registry={url}/ 2>&1"), "1.0.0", "UNABLE_TO"),
        ]);
    }
    clients
}

/// vmclaude-container; as root where the file of all that is trusted is another one, elsewhere with a variable for it.
fn trusting(world: &World, port: u16, authority: &str) -> Command {
    let flags = ["--allow-host".to_owned(), format!("127.0.0.1:{port}")];
    let file = world.write("out/authority.pem", authority);
    if !nix::unistd::geteuid().is_root() {
        let mut command = world.vm(&flags);
        command.env("NODE_EXTRA_CA_CERTS", file);
        return command;
    }
    let known = std::fs::read_to_string(BUNDLE).expect("ca-certificates");
    let bundle = world.write("out/bundle.crt", known + authority);
    let mut command = world.command("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"", "sh"]);
    command.arg(bundle).arg(BUNDLE).arg(world.path("opt/bin/vmclaude-container")).args(flags);
    command
}

#[test]
fn a_companys_authority_is_trusted_by_every_program_and_only_where_the_host_trusts_it() {
    let world = World::new(Who::Current);
    let (port, authority) = company();
    let with = clients(port).into_iter().map(|(name, script, said, _)| Case::has(name, script, said));
    cases::check_by(&world, trusting(&world, port, &authority), &with.collect::<Vec<_>>());
    let without = clients(port).into_iter().map(|(name, script, _, why)| Case::fails(name, script, why));
    cases::check(&world, &["--allow-host", &format!("127.0.0.1:{port}")], &without.collect::<Vec<_>>());
}

#[test]
fn what_only_a_variable_of_the_hosts_names_is_trusted_too() {
    let world = World::new(Who::nth(1));
    let (port, authority) = company();
    let file = world.write("out/authority.pem", authority);
    let flags = ["--allow-host".to_owned(), format!("127.0.0.1:{port}")];
    let mut command = world.vm(&flags);
    command.env("NODE_EXTRA_CA_CERTS", file);
    let kept = "ls /usr/local/share/ca-certificates | grep -c ^of-the-host-0";
    let cases = [
        Case::has("curl", format!("curl -sS -m 30 https://127.0.0.1:{port}/"), "the canary sings"),
        Case::out("where the list is made anew from", kept, "1\n"),
    ];
    cases::check_by(&world, command, &cases);
    if world.engine == Engine::Qemu {
        let none = world.in_vm(&["sh", "-c", &format!("{kept}; true")]);
        assert_eq!(none.out(), "0\n", "the control: {none:?}");
    }
}
