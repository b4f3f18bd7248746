//! The head of a request to the proxy: read, understood, and rewritten for the server.

use httparse::{EMPTY_HEADER, Header, Status};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};
use vmclaude_init::wire::proto::{Dialled, Target};

/// The longest head.
const HEAD: usize = 64 << 10;
/// The most header fields.
const FIELDS: usize = 256;
/// The length of a body that ends with the connection: a tunnel, an upgrade, a chunked body.
const UNLIMITED: u64 = u64::MAX;
/// Fields that end at this proxy, beside `Proxy-*` and `Connection` itself. `Host` is written anew.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "te", "upgrade", "host"];
/// Fields that say where the body ends: they stay even if `Connection` names them.
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "trailer"];

/// A request that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Where it wants to go.
    pub(super) target: Target,
    /// What the client is told once there is a connection: for a tunnel.
    pub(super) reply: &'static [u8],
    /// What the server is sent first.
    pub(super) head: Vec<u8>,
    /// What was read behind the head.
    pub(super) rest: Vec<u8>,
    /// How many bytes behind the head belong to this request.
    pub(super) body: u64,
}

impl Request {
    /// The answer when the host did not connect.
    pub(super) fn refused(&self, why: Dialled) -> Bad {
        let (name, port) = match &self.target {
            Target::Name(name, port) => (name.clone(), *port),
            Target::Addr(IpAddr::V6(addr), port) => (format!("[{addr}]"), *port),
            Target::Addr(addr, port) => (addr.to_string(), *port),
        };
        let place = format!("{name}:{port}");
        match why {
            Dialled::Forbidden => Bad::new(
                403,
                format!(
                    "vmclaude does not let the VM reach {place}: this machine, its networks and cloud metadata are closed; \
                     a local service is allowed with --allow-host ADDR:PORT, such as: vmclaude run --allow-host 127.0.0.1:{port}"
                ),
            ),
            Dialled::NotListed => Bad::new(
                403,
                format!(
                    "vmclaude lets the VM reach only what is listed, and {place} is not: vmclaude run --allow {place}"
                ),
            ),
            Dialled::NoSuchName => Bad::new(502, format!("vmclaude: the host cannot resolve {name}")),
            Dialled::Refused => Bad::new(502, format!("vmclaude: {place} refused the connection")),
            Dialled::Unreachable | Dialled::Ok => Bad::new(504, format!("vmclaude: {place} cannot be reached")),
        }
    }
}

/// An answer of our own: a status and one line for a person.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    status: u16,
    line: std::borrow::Cow<'static, str>,
}

impl Bad {
    /// The head did not come in time.
    pub(super) const SLOW: Bad = Bad::fixed(408, "vmclaude: the request took too long");
    /// The wire failed.
    pub(super) const LOST: Bad = Bad::fixed(502, "vmclaude: the host closed the connection");

    const fn fixed(status: u16, line: &'static str) -> Bad {
        Bad { status, line: std::borrow::Cow::Borrowed(line) }
    }

    fn new(status: u16, line: String) -> Bad {
        Bad { status, line: line.into() }
    }

    const fn malformed(line: &'static str) -> Bad {
        Bad::fixed(400, line)
    }

    /// The bytes of the answer.
    pub(super) fn response(&self) -> Vec<u8> {
        let reason = match self.status {
            400 => "Bad Request",
            403 => "Forbidden",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            502 => "Bad Gateway",
            _ => "Gateway Timeout",
        };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{}\n",
            self.status,
            self.line.len() + 1,
            self.line
        )
        .into_bytes()
    }
}

impl From<io::Error> for Bad {
    fn from(_: io::Error) -> Bad {
        Bad::malformed("vmclaude: the connection failed inside the request")
    }
}

/// Reads and understands the head of a request.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Request, Bad> {
    let mut bytes = Vec::with_capacity(2048);
    loop {
        // The last three bytes again, should the empty line be in two pieces.
        let seen = bytes.len().saturating_sub(3);
        if from.take((HEAD - bytes.len()) as u64).read_buf(&mut bytes).await? == 0 {
            return Err(match bytes.len() {
                HEAD => Bad::fixed(431, "vmclaude: the head of the request is longer than 64 KiB"),
                _ => Bad::malformed("vmclaude: the request ends inside its head"),
            });
        }
        // Only then is there something to parse: a client that sends byte by byte must not make us parse each time.
        let new = &bytes[seen..];
        if new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n") {
            break;
        }
    }
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(&bytes) {
        Ok(Status::Complete(len)) => understand(&head, bytes[len..].to_vec()),
        Err(httparse::Error::TooManyHeaders) => Err(Bad::fixed(431, "vmclaude: more than 256 header fields")),
        Ok(Status::Partial) | Err(_) => Err(Bad::malformed("vmclaude: this is no HTTP/1.1 request")),
    }
}

fn understand(head: &httparse::Request<'_, '_>, rest: Vec<u8>) -> Result<Request, Bad> {
    let (Some(method), Some(uri), Some(version)) = (head.method, head.path, head.version) else {
        return Err(Bad::malformed("vmclaude: this is no HTTP/1.1 request"));
    };
    if method == "CONNECT" {
        let target = target(uri, 443)?;
        let reply = b"HTTP/1.1 200 Connection established\r\n\r\n";
        return Ok(Request { target, reply, head: Vec::new(), rest, body: UNLIMITED });
    }
    let Some((_, place)) = uri.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("http")) else {
        return Err(Bad::malformed("vmclaude: this is a proxy: it takes CONNECT and http:// addresses"));
    };
    let (authority, path) = place.split_at(place.find(['/', '?', '#']).unwrap_or(place.len()));
    let upgrade = upgrades(head.headers);
    let body = if upgrade { UNLIMITED } else { body_len(head.headers)? };
    let line = format!("{method} {} HTTP/1.{version}\r\nHost: {authority}\r\n", origin_form(method, path));
    let target = target(authority, 80)?;
    Ok(Request { target, reply: b"", head: rewritten(line, head.headers, upgrade), rest, body })
}

/// The path as the server itself is asked for it.
fn origin_form(method: &str, path: &str) -> String {
    match (method, path.split('#').next().unwrap_or_default()) {
        ("OPTIONS", "") => "*".to_owned(),
        (_, path) if path.starts_with('/') => path.to_owned(),
        (_, path) => format!("/{path}"),
    }
}

/// The head that the server gets: the request line, then the fields that are its business.
fn rewritten(line: String, fields: &[Header<'_>], upgrade: bool) -> Vec<u8> {
    let mut out = line.into_bytes();
    for field in end_to_end(fields, upgrade) {
        out.extend_from_slice(field.name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(if upgrade { b"Connection: Upgrade\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
    out
}

/// The fields that the server gets: one request per connection is all that this proxy promises, so what speaks of the
/// connection stays here.
fn end_to_end<'a>(fields: &'a [Header<'a>], upgrade: bool) -> impl Iterator<Item = &'a Header<'a>> {
    fields.iter().filter(move |field| {
        let name = field.name.to_ascii_lowercase();
        if upgrade && name == "upgrade" || FRAMING.contains(&name.as_str()) {
            return true;
        }
        let ends_here = HOP_BY_HOP.contains(&name.as_str()) || name.starts_with("proxy-");
        // With an upgrade, the named fields are part of it.
        !ends_here && (upgrade || !tokens(fields, "connection").any(|token| token == name))
    })
}

/// Whether the connection is to become something else, such as a WebSocket. HTTP/2 is not asked for: a server that declines
/// it keeps the connection open for more requests, and those would be for other servers too.
fn upgrades(fields: &[Header<'_>]) -> bool {
    tokens(fields, "connection").any(|token| token == "upgrade")
        && tokens(fields, "upgrade").next().is_some()
        && tokens(fields, "upgrade").all(|protocol| protocol != "h2c")
}

/// The comma-separated words of all fields of one name, in lower case.
fn tokens<'a>(fields: &'a [Header<'a>], name: &'static str) -> impl Iterator<Item = String> + 'a {
    let values = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let words = values.flat_map(|value| value.split(|byte| *byte == b','));
    words.map(|word| String::from_utf8_lossy(word).trim().to_ascii_lowercase()).filter(|word| !word.is_empty())
}

/// How many bytes behind the head belong to the request.
fn body_len(fields: &[Header<'_>]) -> Result<u64, Bad> {
    if tokens(fields, "transfer-encoding").next().is_some() {
        return Ok(UNLIMITED);
    }
    let mut len = None;
    for word in tokens(fields, "content-length") {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        match word.parse::<u64>() {
            Ok(this) if digits && len.is_none_or(|other| other == this) => len = Some(this),
            _ => return Err(Bad::malformed("vmclaude: a Content-Length that makes no sense")),
        }
    }
    Ok(len.unwrap_or(0))
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`, with or without the port's digits.
fn target(authority: &str, default: u16) -> Result<Target, Bad> {
    const WRONG: Bad = Bad::malformed("vmclaude: this is no HOST:PORT");
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or(WRONG)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        Some("") => default,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().map_err(|_| WRONG)?,
        _ => return Err(WRONG),
    };
    if port == 0 {
        return Err(WRONG);
    }
    if authority.starts_with('[') {
        let addr = host.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
        return Ok(Target::Addr(addr.into(), port));
    }
    let host = self::host(host.as_bytes()).ok_or(WRONG)?;
    // Other spellings of numbers go as names: the host's resolver knows what they mean, and the host judges that.
    Ok(match host.parse::<Ipv4Addr>() {
        Ok(addr) => Target::Addr(addr.into(), port),
        Err(_) => Target::Name(host, port),
    })
}

/// A host name in lower case; `None`: it has characters that no name has, or too many.
pub(super) fn host(bytes: &[u8]) -> Option<String> {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let text = std::str::from_utf8(bytes).ok()?;
    ((1..=253).contains(&bytes.len()) && bytes.iter().all(fine)).then(|| text.to_ascii_lowercase())
}
