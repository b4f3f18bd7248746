//! Requests of the guest's for Anthropic's API, to which this host adds the key. The guest never has it: what it sends for
//! one is dropped, and only what Claude Code needs is let through.
//!
//! Requests are parsed and written anew by `hyper`, never passed on as bytes: what a hostile client hides in odd lengths,
//! folded lines or repeated names has no meaning behind a parser.

use super::scrub::Scrubbed;
use super::upstream::Upstream;
use crate::plan::auth::Api;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// For the connection and the first word of TLS.
const CONNECT: Duration = Duration::from_secs(30);
/// The longest path that is looked at.
const LONGEST: usize = 512;
/// Headers that say who asks, that belong to one connection only, that say where the guest thinks it is, or that mean another
/// request to some servers than its first line. Answers come in no coding, so that an echo of the key is found in them.
const DROPPED: &[&str] = &[
    "authorization",
    "x-api-key",
    "proxy-authorization",
    "cookie",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "accept-encoding",
];

type Answer = Response<Either<Scrubbed<Incoming>, Full<Bytes>>>;

/// The way to the API. One per session.
pub(super) struct Gate {
    api: Api,
    upstream: Upstream,
    tls: OnceLock<Result<TlsConnector, String>>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.api.fmt(f)
    }
}

impl Gate {
    pub(super) fn new(api: Api, upstream: Upstream) -> Gate {
        Gate { api, upstream, tls: OnceLock::new() }
    }

    /// Answers the requests of one connection of the guest's, to its end. Never fails; what goes wrong is the guest's to see.
    pub(super) async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        // Kept for the next request of the same connection.
        let kept: Mutex<Option<SendRequest<Incoming>>> = Mutex::default();
        let service = service_fn(|request| async {
            let mut kept = kept.lock().await;
            Ok::<_, std::convert::Infallible>(self.answer(request, &mut kept).await)
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        // Who has said everything still waits for the answer.
        server.half_close(true);
        let served = server.serve_connection(TokioIo::new(stream), service).await;
        if let Err(e) = served {
            tracing::debug!("a connection to the API: {e}");
        }
    }

    async fn answer(&self, request: Request<Incoming>, kept: &mut Option<SendRequest<Incoming>>) -> Answer {
        if !allowed(request.method(), request.uri()) {
            return refusal(StatusCode::FORBIDDEN, "vmclaude adds the key only to what Claude Code needs");
        }
        let Some(request) = self.rewritten(request) else {
            return refusal(StatusCode::BAD_REQUEST, "vmclaude cannot pass this on");
        };
        match self.send(request, kept).await {
            Ok(answer) => self.scrubbed(answer),
            Err(e) => refusal(StatusCode::BAD_GATEWAY, &format!("vmclaude cannot reach {}: {e}", self.api)),
        }
    }

    /// The request as it leaves: our address, our key, nothing of the connection that it came by.
    fn rewritten(&self, request: Request<Incoming>) -> Option<Request<Incoming>> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query()?.as_str();
        head.uri = format!("{}{path}", self.api.prefix).parse().ok()?;
        head.headers = self.keyed(&head.headers)?;
        head.extensions.clear();
        Some(Request::from_parts(head, body))
    }

    /// The headers as they leave.
    fn keyed(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let mut headers = cleaned(headers);
        for (name, value) in &self.api.headers {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, value);
        }
        let usual = if self.api.tls { 443 } else { 80 };
        let name = if self.api.host.contains(':') { format!("[{}]", self.api.host) } else { self.api.host.clone() };
        let host = if self.api.port == usual { name } else { format!("{name}:{}", self.api.port) };
        headers.insert(HOST, HeaderValue::from_str(&host).ok()?);
        Some(headers)
    }

    /// What no answer shows.
    fn secrets(&self) -> Vec<Vec<u8>> {
        self.api.secrets().map(<[u8]>::to_vec).collect()
    }

    async fn send(
        &self,
        request: Request<Incoming>,
        kept: &mut Option<SendRequest<Incoming>>,
    ) -> io::Result<Response<Incoming>> {
        let ready = match kept.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !ready {
            *kept = Some(timeout(CONNECT, self.connect()).await.map_err(|_| io::ErrorKind::TimedOut)??);
        }
        let sender = kept.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        sender.send_request(request).await.map_err(io::Error::other)
    }

    async fn connect(&self) -> io::Result<SendRequest<Incoming>> {
        let (host, port) = (self.api.host.as_str(), self.api.port);
        let addr = host.parse().ok();
        let name = addr.is_none().then_some(host);
        let tcp = match self.upstream.way(name, addr, port).filter(|_| self.api.tls) {
            Some(proxy) => proxy.connect(&format!("{host}:{port}")).await?,
            None => TcpStream::connect((host, port)).await?,
        };
        tcp.set_nodelay(true)?;
        if !self.api.tls {
            return opened(tcp).await;
        }
        let tls = self.tls.get_or_init(connector).as_ref().map_err(|why| io::Error::other(why.clone()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        opened(tls.connect(name, tcp).await?).await
    }

    /// An answer without what is not the guest's: an echo of the key, and what belongs to our connection.
    fn scrubbed(&self, answer: Response<Incoming>) -> Answer {
        let (mut head, body) = answer.into_parts();
        let secrets = self.secrets();
        let echoes = |value: &HeaderValue| {
            let holds = |secret: &Vec<u8>| value.as_bytes().windows(secret.len()).any(|part| part == *secret);
            secrets.iter().any(holds)
        };
        head.headers = cleaned(&head.headers);
        // The words behind the status are among them.
        head.extensions.clear();
        let bad: Vec<_> =
            head.headers.iter().filter(|(_, value)| echoes(value)).map(|(name, _)| name.clone()).collect();
        for name in bad.iter().map(HeaderName::as_str).chain(["set-cookie"]) {
            head.headers.remove(name);
        }
        Response::from_parts(head, Either::Left(Scrubbed::new(body, secrets)))
    }
}

/// The client's end of a connection; what moves its bytes ends with it.
async fn opened(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<SendRequest<Incoming>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!("the connection to the API: {e}");
        }
    });
    Ok(sender)
}

/// TLS with the authorities that this machine trusts.
fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificate authority (ca-certificates)".to_owned());
    }
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What Claude Code needs: to ask a model, to count, to see whether anybody is there. No files, no keys, no accounts.
fn allowed(method: &Method, uri: &Uri) -> bool {
    let path = uri.path();
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'-' | b'_' | b'.');
    let query = uri.query().is_none_or(|query| query == "beta=true" || path == "/v1/models" && query.len() < 128);
    let led = path.contains("..") || path.contains("//") || path.contains("/.");
    let odd = path.len() > LONGEST || !path.bytes().all(plain) || led;
    if uri.authority().is_some() || odd || !query {
        return false;
    }
    match path {
        "/" => *method == Method::HEAD,
        "/v1/messages" | "/v1/messages/count_tokens" => *method == Method::POST,
        "/v1/models" => *method == Method::GET,
        _ => *method == Method::GET && path.strip_prefix("/v1/models/").is_some_and(|id| !id.contains('/')),
    }
}

/// The headers that may cross.
fn cleaned(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let crosses = |name: &HeaderName| !DROPPED.contains(&name.as_str()) && !named.iter().any(|n| n == name.as_str());
    headers.iter().filter(|(name, _)| crosses(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// An error as the API words them, so that Claude Code shows it.
fn refusal(status: StatusCode, why: &str) -> Answer {
    let error = serde_json::json!({ "type": "error", "error": { "type": "permission_error", "message": why } });
    let mut answer = Response::new(Either::Right(Full::from(error.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    if status == StatusCode::FORBIDDEN {
        answer.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
    }
    answer
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
