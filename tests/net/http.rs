//! Plain HTTP through the proxy, and requests that make no sense.

use super::{proxy, read_head, server, talk};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A server that notes each head, reads `body` bytes, answers with their number and closes.
async fn web(body: usize) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let noted = heads.clone();
    let addr = server(move |mut tcp| {
        let noted = noted.clone();
        async move {
            let head = read_head(&mut tcp).await?;
            noted.lock().unwrap().push(head);
            let mut bytes = vec![0; body];
            tcp.read_exact(&mut bytes).await?;
            let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
            tcp.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsum {sum}").as_bytes()).await
        }
    })
    .await;
    (addr, heads)
}

#[tokio::test]
async fn a_plain_request_reaches_the_server_in_its_own_form() {
    let (addr, heads) = web(0).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let request = format!(
        "GET http://{addr}/a?b=http://c HTTP/1.1\r\nHost: other\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: \
         x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nAccept: */*\r\n\r\n"
    );
    assert!(talk(proxy, request.as_bytes()).await.ends_with("sum 0"));
    let expected = format!("GET /a?b=http://c HTTP/1.1\r\nHost: {addr}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    assert_eq!(*heads.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_body_is_streamed() {
    const LEN: usize = 3 << 20;
    let (addr, heads) = web(LEN).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let mut request = format!("POST http://{addr}/ HTTP/1.1\r\nContent-Length: {LEN}\r\n\r\n").into_bytes();
    request.extend(vec![1; LEN]);
    assert!(talk(proxy, &request).await.ends_with(&format!("sum {LEN}")));
    assert!(heads.lock().unwrap()[0].contains(&format!("Content-Length: {LEN}\r\n")));
}

#[tokio::test]
async fn a_chunked_body_passes_as_it_is() {
    let (addr, heads) = web(b"3\r\nabc\r\n0\r\n\r\n".len()).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let request = format!("PUT http://{addr} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert!(talk(proxy, request.as_bytes()).await.contains("sum "));
    assert!(heads.lock().unwrap()[0].starts_with("PUT / HTTP/1.1\r\n"));
}

/// A second request may be for another server: the first one must not see it, and must not be disturbed by it.
#[tokio::test]
async fn a_pipelined_request_does_not_reach_the_first_server() {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    let addr = server(move |mut tcp| {
        let noted = noted.clone();
        async move {
            let mut all = read_head(&mut tcp).await?;
            let mut more = [0; 4096];
            // The body is two bytes; whatever else comes within a moment is too much.
            while let Ok(Ok(n @ 1..)) = timeout(Duration::from_millis(200), tcp.read(&mut more)).await {
                all.push_str(&String::from_utf8_lossy(&more[..n]));
            }
            *noted.lock().unwrap() = all;
            tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await
        }
    })
    .await;
    let (proxy, _) = proxy(vec![addr]).await;
    let two = format!(
        "POST http://{addr}/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET http://elsewhere.example/ HTTP/1.1\r\n\r\n"
    );
    assert_eq!(talk(proxy, two.as_bytes()).await, "HTTP/1.1 204 No Content\r\n\r\n");
    assert!(seen.lock().unwrap().ends_with("\r\n\r\nhi"), "{seen:?}");
}

#[tokio::test]
async fn a_websocket_over_plain_http_works() {
    let addr = server(|mut tcp| async move {
        let head = read_head(&mut tcp).await?;
        assert!(head.contains("\r\nUpgrade: websocket\r\n") && head.contains("\r\nConnection: Upgrade\r\n"), "{head}");
        tcp.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await?;
        let mut word = [0; 4];
        tcp.read_exact(&mut word).await?;
        tcp.write_all(&word).await
    })
    .await;
    let mut tcp = TcpStream::connect(proxy(vec![addr]).await.0).await.unwrap();
    let head =
        format!("GET http://{addr}/ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
    tcp.write_all(head.as_bytes()).await.unwrap();
    assert!(read_head(&mut tcp).await.unwrap().starts_with("HTTP/1.1 101 "));
    tcp.write_all(b"ping").await.unwrap();
    let mut word = [0; 4];
    tcp.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"ping");
}

#[tokio::test]
async fn bytes_behind_a_connect_are_not_lost() {
    let addr = server(|mut tcp| async move {
        let mut early = [0; 5];
        tcp.read_exact(&mut early).await?;
        tcp.write_all(&early).await
    })
    .await;
    let (proxy, _) = proxy(vec![addr]).await;
    let answer = talk(proxy, format!("CONNECT {addr} HTTP/1.1\r\n\r\nearly").as_bytes()).await;
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\nearly");
}

#[tokio::test]
async fn a_slow_head_is_waited_for_and_disturbs_nobody() {
    let (addr, _) = web(0).await;
    let (proxy, _) = proxy(vec![addr]).await;
    let idle: Vec<_> = futures(64, || TcpStream::connect(proxy)).await;
    let mut slow = TcpStream::connect(proxy).await.unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in format!("GET http://{addr}/ HTTP/1.1\r\n\r\n").bytes() {
        slow.write_all(&[byte]).await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(idle);
}

async fn futures<A: Future<Output = io::Result<TcpStream>>>(n: usize, make: impl Fn() -> A) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(make().await.unwrap());
    }
    all
}

#[tokio::test]
#[ignore = "waits out the limit of 30 s"]
async fn a_head_that_never_ends_is_given_up() {
    let (proxy, _) = proxy(vec![]).await;
    assert!(talk(proxy, b"GET http://a/ HTTP/1.1\r\n").await.starts_with("HTTP/1.1 408 "));
}

#[tokio::test]
async fn what_makes_no_sense_is_told_so() {
    let (proxy, policy) = proxy(vec![]).await;
    let long = format!("GET http://a/ HTTP/1.1\r\nX: {}", "x".repeat(70_000));
    let many = format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(300));
    let cases: [(&str, u16); 20] = [
        ("\r\n\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET https://a/ HTTP/1.1\r\n\r\n", 400),
        ("GET http:/// HTTP/1.1\r\n\r\n", 400),
        ("GET http://u@a/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a:0/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a:65536/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a:+1/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://[::1/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://[fe80::1%25eth0]/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://a/ HTTP/2.0\r\n\r\n", 400),
        ("POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        ("POST http://a/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("CONNECT HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a:b HTTP/1.1\r\n\r\n", 400),
        ("CONNECT ::1:80 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a\0b:80 HTTP/1.1\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\n\n", 400),
        (&long, 431),
        (&many, 431),
    ];
    for (request, status) in cases {
        let answer = timeout(Duration::from_secs(9), talk(proxy, request.as_bytes())).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:.80?} -> {answer}");
        assert_eq!(answer.lines().filter(|line| line.starts_with("vmclaude: ")).count(), 1, "{answer}");
    }
    assert_eq!(policy.denials(), []);
}

#[tokio::test]
async fn a_dial_that_fails_says_how() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (proxy, _) = proxy(vec![closed]).await;
    for (target, expected) in [
        (closed.to_string(), "HTTP/1.1 502 Bad Gateway"),
        ("no-such-name.invalid:80".to_owned(), "HTTP/1.1 502 Bad Gateway"),
        ("10.0.0.1:80".to_owned(), "HTTP/1.1 403 Forbidden"),
    ] {
        for request in [format!("CONNECT {target} HTTP/1.1\r\n\r\n"), format!("GET http://{target}/ HTTP/1.1\r\n\r\n")]
        {
            let answer = talk(proxy, request.as_bytes()).await;
            assert!(answer.starts_with(expected), "{request} -> {answer}");
            assert_eq!(answer.contains("--allow-host"), expected.contains("403"), "{answer}");
        }
    }
}
