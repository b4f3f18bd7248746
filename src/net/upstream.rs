//! The host's own proxy, where a network has no other way out.

use base64::Engine;
use std::io;
use std::net::IpAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest answer of a proxy to our request.
const ANSWER: usize = 16 << 10;

/// The host's proxy settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<String>,
}

/// A proxy that takes CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    host: String,
    port: u16,
    credentials: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port) // The credentials are nobody's business.
    }
}

impl Upstream {
    /// The settings in an environment: `https_proxy`, `http_proxy`, `all_proxy` and `no_proxy`, in small letters or large.
    /// A proxy that speaks something else than plain HTTP is left alone.
    pub fn of<'a>(variable: impl Fn(&str) -> Option<&'a str>) -> Upstream {
        let any = |name: &str| variable(name).or_else(|| variable(&name.to_uppercase())).filter(|v| !v.is_empty());
        let all = any("all_proxy").and_then(Proxy::parse);
        Upstream {
            http: any("http_proxy").and_then(Proxy::parse).or_else(|| all.clone()),
            https: any("https_proxy").and_then(Proxy::parse).or(all),
            direct: any("no_proxy")
                .unwrap_or_default()
                .split([',', ' '])
                .map(normal)
                .filter(|e| !e.is_empty())
                .collect(),
        }
    }

    /// The proxy for a name or address. A caught connection says nothing of what it speaks; only the ports of the Web then
    /// go through a proxy, as they would on the host.
    pub(super) fn way(&self, name: Option<&str>, addr: Option<IpAddr>, port: u16) -> Option<&Proxy> {
        let proxy = match (port, name) {
            (80, _) => &self.http,
            (443, _) | (_, Some(_)) => &self.https,
            _ => return None,
        };
        proxy.as_ref().filter(|_| !self.is_direct(name, addr, port))
    }

    fn is_direct(&self, name: Option<&str>, addr: Option<IpAddr>, port: u16) -> bool {
        let text = addr.map(|addr| addr.to_string());
        self.direct.iter().any(|entry| {
            let (place, only) = match entry.rsplit_once(':') {
                Some((place, digits)) if !place.contains(':') => (place, digits.parse::<u16>().ok()),
                _ => (entry.as_str(), None),
            };
            let below =
                |name: &str| name.strip_suffix(place).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let block = place.parse::<crate::plan::network::Local>().ok();
            let inside = addr.is_some_and(|addr| block.is_some_and(|block| block.covers(addr, &[])));
            only.is_none_or(|only| only == port)
                && (place == "*" || name.is_some_and(below) || text.as_deref() == Some(place) || inside)
        })
    }
}

/// An entry without the dot or the star that some write before a domain.
fn normal(entry: &str) -> String {
    let entry = entry.trim().to_ascii_lowercase();
    let entry = entry.strip_prefix("*.").unwrap_or(&entry);
    entry.strip_prefix('.').unwrap_or(entry).to_owned()
}

impl Proxy {
    fn parse(url: &str) -> Option<Proxy> {
        let rest = match url.split_once("://") {
            Some((scheme, rest)) => rest.get(..).filter(|_| scheme.eq_ignore_ascii_case("http"))?,
            None => url,
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(unescaped(user)), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Some(80), |digits| digits.parse().ok())?;
        let credentials = user.map(|user| base64::engine::general_purpose::STANDARD.encode(user));
        (!host.is_empty()).then(|| Proxy { host: host.to_owned(), port, credentials })
    }

    /// A connection to `place` (`HOST:PORT`) through this proxy, which may itself be anywhere.
    ///
    /// # Errors
    /// The connection's, and `PermissionDenied` when the proxy does not connect.
    pub(super) async fn connect(&self, place: &str) -> io::Result<TcpStream> {
        let mut tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let _ = tcp.set_nodelay(true);
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(credentials) = &self.credentials {
            request += &format!("Proxy-Authorization: Basic {credentials}\r\n");
        }
        tcp.write_all((request + "\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what comes behind the answer is the server's, not ours.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
            answer.push(tcp.read_u8().await?);
        }
        let status = answer.get(9..12).filter(|_| answer.starts_with(b"HTTP/1."));
        if status.is_some_and(|digits| digits[0] == b'2' && digits.iter().all(u8::is_ascii_digit)) {
            Ok(tcp)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

/// Text without percent signs.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Upstream;
    use std::net::IpAddr;

    fn settings(pairs: &[(&'static str, &'static str)]) -> Upstream {
        Upstream::of(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| *v))
    }

    #[test]
    fn the_hosts_settings_are_read_as_other_programs_read_them() {
        let set = settings(&[
            ("HTTPS_PROXY", "http://you:p%40ss@proxy.corp:3128/"),
            ("http_proxy", "proxy.corp:8080"),
            ("no_proxy", ".corp,10.0.0.0/8, internal.example:8443,192.168.1.7"),
        ]);
        let way = |name: Option<&str>, addr: &str, port| {
            let addr = addr.parse::<IpAddr>().ok();
            set.way(name, addr, port).map(|proxy| format!("{proxy:?}"))
        };
        assert_eq!(way(Some("a.example"), "", 443).as_deref(), Some("proxy.corp:3128"));
        assert_eq!(way(Some("a.example"), "", 80).as_deref(), Some("proxy.corp:8080"));
        assert_eq!(way(Some("a.example"), "", 22).as_deref(), Some("proxy.corp:3128"));
        for (name, addr, port) in [
            (None, "9.9.9.9", 22),
            (Some("corp"), "", 443),
            (Some("git.corp"), "", 443),
            (None, "10.1.1.1", 443),
            (None, "192.168.1.7", 80),
            (Some("internal.example"), "", 8443),
        ] {
            assert_eq!(way(name, addr, port), None, "{name:?} {addr} {port}");
        }
        assert!(way(Some("notcorp"), "", 443).is_some() && way(Some("internal.example"), "", 443).is_some());
        let credentials = set.https.and_then(|proxy| proxy.credentials);
        assert_eq!(credentials.as_deref(), Some("eW91OnBAc3M="));
    }

    #[test]
    fn what_cannot_be_spoken_to_is_left_alone() {
        for url in ["", "socks5://p:1", "https://p", "http://", "http://p:x", "http://:80"] {
            let url: &'static str = url;
            assert_eq!(settings(&[("all_proxy", url)]), Upstream::default(), "{url}");
        }
        assert!(settings(&[("all_proxy", "http://[::1]:3128")]).way(Some("a"), None, 443).is_some());
        assert!(settings(&[("https_proxy", "http://p"), ("NO_PROXY", "*")]).way(Some("a"), None, 443).is_none());
    }
}
