//! The server name in the first message of a TLS connection, read and compared while it passes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest first message that is waited for. Real ones have some two kilobytes.
const LONGEST: usize = 32 << 10;
const SERVER_NAME: u16 = 0;
/// Encrypted Client Hello hides another first message, with another name, in this one.
const HIDDEN_HELLO: u16 = 0xfe0d;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a TLS connection, of which more must be seen.
    More,
    /// The whole first message: the server name as it is written there.
    Name(String),
    /// The beginning of something else.
    Plain,
    /// A TLS connection that does not say in the clear, once, which server it is for.
    Nameless,
}

/// Reads the first bytes of a connection.
pub fn hello(bytes: &[u8]) -> Hello {
    let Some(message) = handshake(bytes) else { return Hello::Plain };
    let length = match message.get(..4) {
        Some([1, a, b, c]) => usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c),
        Some(_) => return Hello::Nameless,
        None => return if bytes.len() < LONGEST { Hello::More } else { Hello::Nameless },
    };
    match message.get(4..4 + length) {
        Some(body) => server_name(body).map_or(Hello::Nameless, Hello::Name),
        None if length < LONGEST && bytes.len() < 2 * LONGEST => Hello::More,
        None => Hello::Nameless,
    }
}

/// What of the first message is there, out of its records; `None`: these are no records.
fn handshake(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        // Later records may be of another kind: the first message is whole by then, or never will be.
        if *kind != 22 {
            return if message.is_empty() { None } else { Some(message) };
        }
        let Some((version, rest)) = rest.split_first() else { break };
        if *version != 3 {
            return None;
        }
        let Some((head, rest)) = rest.split_first_chunk::<3>() else { break };
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let here = length.min(rest.len());
        message.extend_from_slice(&rest[..here]);
        bytes = &rest[here..];
        if length == 0 {
            return None; // Empty records are of no use but to make us read for ever.
        }
    }
    Some(message)
}

/// A message being read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (this, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(this)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    /// Bytes behind their length, which itself has so many bytes.
    fn vector(&mut self, bytes: usize) -> Option<Reader<'a>> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }
}

fn server_name(body: &[u8]) -> Option<String> {
    let mut body = Reader(body);
    body.take(2 + 32)?;
    body.vector(1)?; // session
    body.vector(2)?; // ciphers
    body.vector(1)?; // compression
    let mut extensions = body.vector(2)?;
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        match u16::try_from(kind).ok()? {
            HIDDEN_HELLO => return None,
            SERVER_NAME if name.is_some() => return None,
            SERVER_NAME => name = Some(only_name(content)?),
            _ => {}
        }
    }
    name.filter(|_| body.0.is_empty())
}

/// The one host name of the extension; two would be one for us and one for the server.
fn only_name(mut content: Reader<'_>) -> Option<String> {
    let mut list = content.vector(2)?;
    let (kind, name) = (list.number(1)?, list.vector(2)?);
    let alone = kind == 0 && list.0.is_empty() && content.0.is_empty();
    let fine = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let text = String::from_utf8(name.0.to_vec()).ok()?;
    (alone && !text.is_empty() && text.len() <= 253 && name.0.iter().all(fine)).then(|| text.to_ascii_lowercase())
}

/// A stream of the guest's whose first bytes must name one of these servers.
pub(super) struct Checked<S> {
    stream: S,
    names: Vec<String>,
    /// Whether what is not TLS may pass: what the list says of a port other than the one of HTTPS.
    plain: bool,
    seen: Vec<u8>,
    /// How much of `seen` was handed on; `None` while nothing is decided.
    passed: Option<usize>,
}

impl<S> Checked<S> {
    pub(super) fn new(stream: S, names: Vec<String>, plain: bool) -> Checked<S> {
        Checked { stream, names, plain, seen: Vec::new(), passed: None }
    }

    /// Whether it was ended because of what it said.
    pub(super) fn misnamed(&self) -> bool {
        self.passed.is_none() && self.decide() != Some(true) && !self.seen.is_empty()
    }

    /// Whether what was seen may pass; `None`: more must be seen.
    fn decide(&self) -> Option<bool> {
        match hello(&self.seen) {
            Hello::More => None,
            Hello::Plain => Some(self.plain),
            Hello::Nameless => Some(false),
            Hello::Name(name) => Some(self.names.contains(&name)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        loop {
            match me.passed {
                Some(passed) if passed < me.seen.len() => {
                    let some = buf.remaining().min(me.seen.len() - passed);
                    buf.put_slice(&me.seen[passed..passed + some]);
                    me.passed = Some(passed + some);
                    return Poll::Ready(Ok(()));
                }
                Some(_) => {
                    me.seen = Vec::new();
                    me.passed = Some(0);
                    return Pin::new(&mut me.stream).poll_read(cx, buf);
                }
                None => {}
            }
            let mut space = [0; 4096];
            let mut piece = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut me.stream).poll_read(cx, &mut piece))?;
            me.seen.extend_from_slice(piece.filled());
            let ended = piece.filled().is_empty();
            match me.decide() {
                Some(true) => me.passed = Some(0),
                None if ended && me.seen.is_empty() => return Poll::Ready(Ok(())),
                None if !ended => {}
                _ => return Poll::Ready(Err(io::ErrorKind::PermissionDenied.into())),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
