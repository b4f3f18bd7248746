//! What a hostile guest tries with the key that it does not have, as bytes: each attack against the gate, where it must fail,
//! and against one that only puts the key behind the first line and passes the bytes on, where it must succeed. Without that
//! it would prove nothing.

use super::*;
use std::sync::Mutex as Shared;

/// An ordinary answer.
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The length of the first request in `bytes`, when it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked") {
        return bytes[head..].windows(5).position(|part| part == b"0\r\n\r\n").map(|at| head + at + 5);
    }
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// Answers every request of every connection the same, and keeps all bytes that come.
async fn record(listener: TcpListener, answer: &'static str, seen: Arc<Shared<Vec<u8>>>) {
    while let Ok((mut tcp, _)) = listener.accept().await {
        let seen = seen.clone();
        tokio::spawn(async move {
            let (mut pending, mut buf) = (Vec::new(), [0; 4096]);
            while let Ok(n) = tcp.read(&mut buf).await {
                seen.lock().expect("lock").extend_from_slice(&buf[..n]);
                pending.extend_from_slice(&buf[..n]);
                while let Some(length) = whole(&pending) {
                    pending.drain(..length);
                    let _ = tcp.write_all(answer.as_bytes()).await;
                }
                if n == 0 {
                    break;
                }
            }
        });
    }
}

/// What a gate that understands nothing would make of it.
async fn naive(mut guest: DuplexStream, to: std::net::SocketAddr) {
    let mut bytes = Vec::new();
    guest.read_to_end(&mut bytes).await.expect("read");
    let line = bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    bytes.splice(line..line, format!("x-api-key: {KEY}\r\n").into_bytes());
    let mut tcp = TcpStream::connect(to).await.expect("connect");
    tcp.write_all(&bytes).await.expect("write");
    tcp.shutdown().await.expect("shutdown");
    let _ = tokio::io::copy(&mut tcp, &mut guest).await;
}

/// What the API saw, and what the guest was told.
fn attack(bytes: &str, answer: &'static str, defended: bool) -> (String, String) {
    on_loop(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let addr = listener.local_addr().expect("addr");
        let seen = Arc::new(Shared::default());
        let server = tokio::spawn(record(listener, answer, Arc::clone(&seen)));
        let (guest, far) = tokio::io::duplex(1 << 16);
        let gate = gate(false, addr.port());
        let served = async { if defended { gate.serve(far).await } else { naive(far, addr).await } };
        let told = tokio::join!(served, say(guest, bytes.as_bytes())).1;
        server.abort();
        let seen = String::from_utf8_lossy(&seen.lock().expect("lock")).into_owned();
        (seen, told)
    })
}

/// A request with these headers and the body `{}`.
fn with(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}Content-Length: 2\r\n\r\n{{}}")
}

const POST: &str = "POST /v1/messages";
const FILES: &str = "GET /v1/files HTTP/1.1\r\nHost: a\r\n\r\n";

/// Each with the words that the API must never see from the guest.
fn attacks() -> Vec<(&'static str, String, &'static str)> {
    let chunked = |head: &str, body: &str| format!("{POST} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n{body}");
    let mut all = vec![
        ("another authority in the line", with("POST http://evil.example/v1/messages", ""), "evil.example"),
        (
            "another authority with a name and a word",
            with("POST http://a:b@evil.example/v1/messages", ""),
            "evil.example",
        ),
        ("no scheme before the authority", with("POST //evil.example/v1/messages", ""), "evil.example"),
        ("another host", format!("{POST} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"), "evil.example"),
        ("two hosts", with(POST, "Host: evil.example\r\n"), "evil.example"),
        ("a host before a proxy", with(POST, "X-Forwarded-Host: evil.example\r\n"), "evil.example"),
        ("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), "evil.example"),
        ("another path in a header", with(POST, "X-Original-URL: /v1/files\r\n"), "/v1/files"),
        ("the same for others", with(POST, "X-Rewrite-URL: /v1/files\r\n"), "/v1/files"),
        ("another method in a header", with(POST, "X-HTTP-Method-Override: DELETE\r\n"), "DELETE"),
        ("the same in other words", with(POST, "X-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\n"), "DELETE"),
        ("a key beside the key", with(POST, "Authorization: Bearer evil\r\n"), "evil"),
        (
            "a key behind the body",
            chunked(
                "Transfer-Encoding: chunked\r\nTrailer: authorization",
                "2\r\n{}\r\n0\r\nauthorization: evil\r\n\r\n",
            ),
            "evil",
        ),
        ("a header of the connection", with(POST, "Connection: x-evil\r\nX-Evil: 1\r\n"), "vil"),
        ("a header that is folded", with(POST, "x-a: b\r\n evil: c\r\n"), "evil"),
        ("a header that ends early", with(POST, "x-a: b\rauthorization: evil\r\n"), "evil"),
        ("a space before the colon", with(POST, "authorization : evil\r\n"), "evil"),
        ("another protocol", with(POST, "Connection: Upgrade\r\nUpgrade: evil\r\n"), "evil"),
        (
            "another protocol with settings",
            with(POST, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            "h2c",
        ),
        ("two lengths", with(POST, "Content-Length: 40\r\n") + FILES, "/v1/files"),
        ("a length with a sign", chunked("Content-Length: +0", FILES), "/v1/files"),
        ("a list of lengths", chunked("Content-Length: 0, 40", FILES), "/v1/files"),
        (
            "chunks and a length",
            chunked("Transfer-Encoding: chunked\r\nContent-Length: 4", &format!("0\r\n\r\n{FILES}")),
            "/v1/files",
        ),
        ("a coding that is nearly chunks", chunked("Transfer-Encoding: xchunked", FILES), "/v1/files"),
        ("chunks twice", chunked("Transfer-Encoding: chunked, identity", &format!("0\r\n\r\n{FILES}")), "/v1/files"),
        ("a chunk of an odd size", chunked("Transfer-Encoding: chunked", &format!("0x0\r\n\r\n{FILES}")), "/v1/files"),
        (
            "a chunk of a huge size",
            chunked("Transfer-Encoding: chunked", &format!("fffffffffffffffff\r\n{FILES}")),
            "/v1/files",
        ),
        ("a request behind another", with(POST, "") + FILES, "/v1/files"),
        ("a request in the body of a question", format!("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n{FILES}"), "/v1/files"),
        ("a path that goes up", with("POST /v1/messages/../files", ""), "files"),
        ("the same in numbers", with("POST /v1/messages/%2e%2e/files", ""), "files"),
        ("the same twice in numbers", with("GET /v1/models/%252e%252e%252ffiles", ""), "files"),
        ("a slash in numbers", with("GET /v1/models/..%2ffiles", ""), "files"),
        ("a model in numbers", with("GET /v1/models/%66iles", ""), "%66"),
        ("a backslash", with("GET /v1/models/..\\files", ""), "files"),
        ("a parameter of a path", with("GET /v1/models/x;/../files", ""), "files"),
        ("a zero byte in a path", with("GET /v1/models/x%00files", ""), "files"),
        ("a question that is none", with("POST /v1/messages?beta=true&files=1", ""), "files"),
        ("a fragment", with("POST /v1/messages#/files", ""), "#"),
        ("a path of dots", with("GET /v1/models/.", ""), "models/."),
        ("an endless path", with(&format!("GET /v1/models/{}", "a".repeat(4000)), ""), "aaaa"),
    ];
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post", "PURGE"] {
        all.push(("another method", with(&format!("{method} /v1/messages"), ""), "/v1/messages"));
    }
    all
}

#[test]
fn no_attack_on_the_key_succeeds_and_each_does_without_the_parser() {
    let all = attacks();
    for (name, bytes, evil) in &all {
        let (seen, told) = attack(bytes, OK, true);
        assert!(!seen.contains(evil), "{name}: {bytes} -> {seen}");
        assert!(!told.contains(KEY), "{name}: {told}");
        assert!(seen.is_empty() || seen.contains(&format!("x-api-key: {KEY}\r\n")), "{name}: {seen}");
        let (seen, _) = attack(bytes, OK, false);
        assert!(seen.contains(evil) && seen.contains(KEY), "{name}: the control: {seen}");
    }
    println!("{} attacks on a key that the host holds", all.len());
}

#[test]
fn no_answer_shows_the_key_and_each_does_without_the_parser() {
    for (name, answer) in [
        ("a header", "HTTP/1.1 200 OK\r\nx-echo: KEY\r\ncontent-length: 0\r\n\r\n"),
        ("an error", "HTTP/1.1 401 No\r\ncontent-length: 35\r\n\r\nbad: KEY"),
        ("chunks", "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n1e\r\nKEY\r\n0\r\n\r\n"),
        ("a way elsewhere", "HTTP/1.1 307 No\r\nlocation: http://127.0.0.1:1/KEY\r\ncontent-length: 0\r\n\r\n"),
        ("a cookie", "HTTP/1.1 200 OK\r\nset-cookie: k=KEY\r\ncontent-length: 0\r\n\r\n"),
        ("a question for a word", "HTTP/1.1 401 No\r\nwww-authenticate: Basic realm=KEY\r\ncontent-length: 0\r\n\r\n"),
        ("the reason", "HTTP/1.1 400 KEY\r\ncontent-length: 0\r\n\r\n"),
        ("another protocol", "HTTP/1.1 101 KEY\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nKEY"),
        ("no answer at all", "KEY"),
    ] {
        let answer: &'static str = answer.replace("KEY", KEY).leak();
        let request = String::from_utf8(post("Accept-Encoding: gzip\r\n")).expect("text");
        let (seen, told) = attack(&request, answer, true);
        assert!(
            seen.matches("POST /base").count() == 1 && !seen.contains("gzip"),
            "{name}: asked once, plainly: {seen}"
        );
        assert!(told.starts_with("HTTP/1.1 ") && !told.contains(KEY), "{name}: {told}");
        assert!(attack(&request, answer, false).1.contains(KEY), "{name}: the control");
    }
}

#[test]
fn the_key_is_in_no_words_about_a_request() {
    let gate = gate(true, 443);
    let headers = gate.keyed(&HeaderMap::new()).expect("headers");
    assert_eq!(headers["x-api-key"], KEY, "the control: it is there");
    assert!(!format!("{headers:?} {gate:?}").contains(KEY));
}
