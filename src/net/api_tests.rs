//! A hostile guest, a TLS server of the test's own, and the key in between.

use super::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

#[path = "api_attacks.rs"]
mod attacks;

const KEY: &str = "sk-ant-the-real-key-0123456789";

fn gate(tls: bool, port: u16) -> Gate {
    let headers = vec![("x-api-key".to_owned(), KEY.to_owned())];
    let api = Api { tls, host: "127.0.0.1".into(), port, prefix: "/base".into(), headers };
    Gate::new(api, Upstream::default())
}

fn on_loop<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async { timeout(Duration::from_secs(60), what).await.expect("in time") })
}

async fn answer_one(stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-echo: {KEY}\r\nset-cookie: a=b\r\nx-fine: yes\r\n\r\nok");
    answer_with(stream, &answer).await
}

/// Reads one request from `stream` (its end by its length or its last chunk) and answers it; what it was.
async fn answer_with(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    loop {
        let n = stream.read(&mut buf).await.expect("read");
        all.extend_from_slice(&buf[..n]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let whole =
            if head.contains("chunked") { body.ends_with("0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) };
        if whole || n == 0 {
            stream.write_all(answer.as_bytes()).await.expect("write");
            stream.flush().await.expect("flush");
            return text;
        }
    }
}

/// What the server saw of these bytes of the guest's (`None`: nothing), and what the guest was told.
fn through(bytes: &[u8]) -> (Option<String>, String) {
    on_loop(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let gate = gate(false, listener.local_addr().expect("addr").port());
        let server = tokio::spawn(async move { answer_one(listener.accept().await.expect("accept").0).await });
        let (guest, far) = tokio::io::duplex(1 << 16);
        let told = tokio::join!(gate.serve(far), say(guest, bytes)).1;
        let seen = if server.is_finished() { Some(server.await.expect("server")) } else { None };
        (seen, told)
    })
}

async fn say(mut guest: DuplexStream, bytes: &[u8]) -> String {
    guest.write_all(bytes).await.expect("write");
    guest.shutdown().await.expect("shutdown");
    let mut told = Vec::new();
    let _ = guest.read_to_end(&mut told).await;
    String::from_utf8_lossy(&told).into_owned()
}

fn post(headers: &str) -> Vec<u8> {
    format!("POST /v1/messages?beta=true HTTP/1.1\r\nHost: 127.0.0.1:3129\r\n{headers}Content-Length: 2\r\n\r\n{{}}")
        .into()
}

#[test]
fn the_key_is_added_and_what_the_guest_sends_for_one_is_dropped() {
    for smuggled in [
        "Authorization: Bearer guests\r\n",
        "x-api-key: guests\r\n",
        "X-API-KEY: guests\r\nx-Api-Key: guests\r\n",
        "AUTHORIZATION: a guests\r\nauthorization: b guests\r\n",
        "Proxy-Authorization: guests\r\nCookie: guests\r\n",
        "Connection: close, X-Guests\r\nX-Guests: guests\r\n",
        "Connection: anthropic-version\r\nanthropic-version: guests\r\n",
        "X-Forwarded-Host: guests\r\nForwarded: guests\r\nTE: guests\r\nUpgrade: guests\r\n",
    ] {
        let (seen, told) = through(&post(&format!("{smuggled}anthropic-beta: x\r\n")));
        let seen = seen.unwrap_or_else(|| panic!("{smuggled}: {told}"));
        let low = seen.to_ascii_lowercase();
        assert!(
            seen.starts_with("POST /base/v1/messages?beta=true HTTP/1.1\r\n") && seen.ends_with("\r\n\r\n{}"),
            "{seen}"
        );
        assert_eq!(low.matches("x-api-key").count(), 1, "{seen}");
        assert!(seen.contains(&format!("x-api-key: {KEY}\r\n")) && low.contains("anthropic-beta: x"), "{seen}");
        assert!(
            !low.contains("guests") && !low.contains("authorization") && !low.contains(":3129\r"),
            "{smuggled}: {seen}"
        );
        assert!(
            told.starts_with("HTTP/1.1 200 OK\r\n") && told.ends_with("ok") && told.contains("x-fine: yes"),
            "{told}"
        );
        assert!(!told.contains(KEY) && !told.contains("set-cookie"), "no echo: {told}");
    }
}

#[test]
fn headers_of_the_users_own_change_no_answer_unless_they_are_secret() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-echo: a gate-0123456789\r\nx-on: on\r\n\
        content-length: 35\r\n\r\nvmclaude is on, gate-0123456789 not";
    let own =
        [("x-project", "vmclaude"), ("x-flag", "on"), ("x-team-token", "json"), ("x-gate-token", "gate-0123456789")];
    let (seen, told) = on_loop(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let mut gate = gate(false, listener.local_addr().expect("addr").port());
        gate.api.headers.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let server = tokio::spawn(async move { answer_with(listener.accept().await.expect("accept").0, ANSWER).await });
        let (guest, far) = tokio::io::duplex(1 << 16);
        let request = post("");
        let told = tokio::join!(gate.serve(far), say(guest, &request)).1;
        (server.await.expect("server"), told)
    });
    for (name, value) in own {
        assert!(seen.contains(&format!("{name}: {value}\r\n")), "{name}: {seen}");
    }
    assert!(told.contains("content-type: application/json\r\n") && told.contains("x-on: on\r\n"), "{told}");
    assert!(told.ends_with("\r\n\r\nvmclaude is on, *************** not") && !told.contains("x-echo"), "{told}");
}

#[test]
fn what_is_not_http_as_it_is_meant_gets_nowhere() {
    for bytes in [
        post("x-api-key: a\r\n folded: b\r\n"),
        post("x-api-key : spaced\r\n"),
        post("Content-Length: 5\r\n"),
        b"POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_vec(),
        b"GET / HTTP/0.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"POST /v1/messages HTTP/1.1\r\nx\0y: z\r\n\r\n".to_vec(),
        vec![b'A'; 1 << 15],
    ] {
        let (seen, told) = through(&bytes);
        assert_eq!(seen, None, "{} -> {told}", String::from_utf8_lossy(&bytes));
        assert!(!told.contains("200 OK"), "{told}");
    }
}

#[test]
fn two_lengths_that_disagree_are_one_request_or_none() {
    // A body in chunks with a length besides: whatever comes behind is a request of its own, with its own judgement.
    let inner = "GET /v1/files HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{inner}"
    );
    let (seen, _) = through(bytes.as_bytes());
    assert!(seen.is_none_or(|seen| !seen.contains("/v1/files") && seen.matches("HTTP/1.1").count() == 1));
}

#[test]
fn only_the_paths_that_claude_code_needs_are_let_through() {
    let is = |method: &str, uri: &str| allowed(&method.parse().expect("method"), &uri.parse().expect("uri"));
    for (method, uri) in [
        ("HEAD", "/"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages?beta=true"),
        ("POST", "/v1/messages/count_tokens?beta=true"),
        ("GET", "/v1/models?limit=20"),
        ("GET", "/v1/models/claude-opus-5-5"),
    ] {
        assert!(is(method, uri), "{method} {uri}");
    }
    for (method, uri) in [
        ("GET", "/"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/messages/%2e%2e/files"),
        ("POST", "/v1/messages%2f..%2ffiles"),
        ("POST", "//v1/messages"),
        ("POST", "/v1//messages"),
        ("POST", "/V1/messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/v1/messages?x=y"),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models/.."),
        ("DELETE", "/v1/models/x"),
        ("GET", "/v1/organizations/me"),
        ("POST", "/api/oauth/claude_cli/create_api_key"),
        ("POST", "http://127.0.0.1/v1/messages"),
        ("CONNECT", "127.0.0.1:22"),
    ] {
        assert!(!is(method, uri), "{method} {uri}");
    }
    let (seen, told) = through(b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(seen.is_none() && told.starts_with("HTTP/1.1 403") && told.contains("permission_error"), "{told}");
}

#[test]
fn tls_is_checked_and_a_server_that_is_not_the_one_never_sees_the_key() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("key");
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).expect("certificate");
    for (trusted, name) in [(true, "127.0.0.1"), (false, "127.0.0.1"), (true, "localhost")] {
        let acceptor = TlsAcceptor::from(Arc::new(config.clone()));
        on_loop(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
            let mut gate = gate(true, listener.local_addr().expect("addr").port());
            gate.api.host = name.to_owned();
            let mut roots = RootCertStore::empty();
            if trusted {
                roots.add(cert.der().clone()).expect("root");
            }
            let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
            let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
            assert!(gate.tls.set(Ok(TlsConnector::from(Arc::new(client)))).is_ok());
            let server = tokio::spawn(async move {
                let tcp = listener.accept().await.expect("accept").0;
                match acceptor.accept(tcp).await {
                    Ok(tls) => Some(answer_one(tls).await),
                    Err(_) => None,
                }
            });
            let (guest, far) = tokio::io::duplex(1 << 16);
            let request = post("Connection: close\r\n");
            let told = tokio::join!(gate.serve(far), say(guest, &request)).1;
            let seen = server.await.expect("server");
            assert_eq!(
                seen.as_ref().is_some_and(|seen| seen.contains(KEY)),
                trusted && name == "127.0.0.1",
                "{name}: {told}"
            );
            assert_eq!(told.starts_with("HTTP/1.1 200"), seen.is_some(), "{told}");
            assert!(!told.contains(KEY));
        });
    }
}
