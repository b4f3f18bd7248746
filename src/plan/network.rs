//! What a VM may reach, as the user writes it. Words only: addresses are judged where they are dialled.

use crate::error::{Failure, Result};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How much of the world a VM may reach, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The public Internet, and nothing of this machine and its networks.
    #[default]
    Open,
    /// Only what is listed.
    Allowlist,
    /// Nothing.
    None,
}

/// The port of an entry that names none.
const HTTPS: u16 = 443;

/// The network of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// How much may be reached.
    pub mode: Mode,
    /// What may be reached in [`Mode::Allowlist`]; an empty list is nothing.
    pub allow: Vec<Listed>,
    /// Names and addresses outside the public Internet that may be reached, such as a company's.
    pub allow_local: Vec<Local>,
    /// Addresses of this machine that may be reached; see also [`Network::doors`].
    pub allow_hosts: Vec<SocketAddr>,
}

impl Network {
    /// This network with what one run adds to it.
    #[must_use]
    pub fn with(mut self, mode: Option<Mode>, allow: &[Listed], allow_hosts: &[SocketAddr]) -> Network {
        self.mode = mode.unwrap_or(self.mode);
        self.allow.extend(allow.iter().filter(|e| !self.allow.contains(e)).cloned().collect::<Vec<_>>());
        let more: Vec<_> = allow_hosts.iter().filter(|a| !self.allow_hosts.contains(a)).copied().collect();
        self.allow_hosts.extend(more);
        self
    }

    /// This network, and no more than `mode` and the names of `allow`. Nothing is added: a name that was not allowed before
    /// is not allowed now.
    #[must_use]
    pub fn tightened(mut self, mode: Option<Mode>, allow: Option<&[Listed]>) -> Network {
        let was = self.mode;
        let named = if allow.is_some() { Mode::Allowlist } else { Mode::Open };
        self.mode = self.mode.max(mode.unwrap_or_default()).max(named);
        if self.mode != Mode::Allowlist {
            return self;
        }
        self.allow = match (was, allow) {
            (Mode::Open, names) => names.unwrap_or_default().to_vec(),
            (_, Some(names)) => names.iter().filter(|n| self.allow.iter().any(|a| n.lies_in(a))).cloned().collect(),
            (_, None) => self.allow,
        };
        self
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| items.join(", ");
        match self.mode {
            Mode::None => return f.write_str("none"),
            Mode::Open => f.write_str("public addresses")?,
            Mode::Allowlist if self.allow.is_empty() => f.write_str("nothing that is not listed, and nothing is")?,
            Mode::Allowlist => write!(f, "only {}", list(self.allow.iter().map(ToString::to_string).collect()))?,
        }
        if !self.allow_local.is_empty() {
            write!(f, ", and inside {}", list(self.allow_local.iter().map(ToString::to_string).collect()))?;
        }
        if !self.allow_hosts.is_empty() {
            write!(f, ", and {} here", list(self.allow_hosts.iter().map(ToString::to_string).collect()))?;
        }
        Ok(())
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Name(name) => write!(f, "{name}:{}", self.port),
            What::Below(name) => write!(f, "*.{name}:{}", self.port),
            What::Addr(addr) => SocketAddr::new(*addr, self.port).fmt(f),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Local::Name(name) => f.write_str(name),
            Local::Block(first, bits) => write!(f, "{first}/{bits}"),
        }
    }
}

/// An entry of the list: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    what: What,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// Exactly this name.
    Name(String),
    /// Every name below this one, itself excluded.
    Below(String),
    /// Exactly this address.
    Addr(IpAddr),
}

/// A place outside the public Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Local {
    /// Whatever this name stands for.
    Name(String),
    /// The addresses whose first so many bits are these.
    Block(IpAddr, u32),
}

impl FromStr for Mode {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Mode> {
        match text {
            "open" => Ok(Mode::Open),
            "allowlist" => Ok(Mode::Allowlist),
            "none" => Ok(Mode::None),
            _ => Err(Failure::usage(format!("not a network mode: {text}")).next("open, allowlist or none")),
        }
    }
}

impl Listed {
    /// Whether everything that this entry allows is allowed by `other` too.
    pub fn lies_in(&self, other: &Listed) -> bool {
        let inside = match (&self.what, &other.what) {
            (What::Below(this), What::Below(that)) => this == that || other.names(this),
            (What::Name(this), _) => other.names(this),
            (this, that) => this == that,
        };
        inside && self.port == other.port
    }

    /// Whether `name`, which must be in lower case without a dot at its end, is meant on any port.
    pub fn names(&self, name: &str) -> bool {
        match &self.what {
            What::Name(this) => this == name,
            What::Below(this) => {
                name.strip_suffix(this.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            What::Addr(_) => false,
        }
    }

    /// Whether this port of `name` is meant.
    pub fn covers_name(&self, name: &str, port: u16) -> bool {
        port == self.port && self.names(name)
    }

    /// Whether this port of an address is meant, whatever it is called.
    pub fn covers_addr(&self, addr: IpAddr, port: u16) -> bool {
        port == self.port && matches!(&self.what, What::Addr(this) if *this == addr.to_canonical())
    }
}

impl FromStr for Listed {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Listed> {
        let bad = |why: &str| {
            Failure::usage(format!("not a name to allow: {text}"))
                .because(why)
                .next("registry.example.com, *.example.org:443")
        };
        let port = |digits: &str| match digits.parse::<u16>() {
            Ok(port) if port != 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
            _ => Err(bad("this is no port")),
        };
        if let Some((host, rest)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
            let addr = host.parse::<Ipv6Addr>().map_err(|_| bad("this is no IPv6 address"))?;
            let port = rest
                .strip_prefix(':')
                .map_or(if rest.is_empty() { Ok(HTTPS) } else { Err(bad("this is no port")) }, port)?;
            return Ok(Listed { what: What::Addr(IpAddr::V6(addr).to_canonical()), port });
        }
        if let Ok(addr) = text.parse::<IpAddr>() {
            return Ok(Listed { what: What::Addr(addr.to_canonical()), port: HTTPS });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, digits)) => (host, port(digits)?),
            None => (text, HTTPS),
        };
        let what = match (host.strip_prefix("*."), host.parse::<IpAddr>()) {
            (_, Ok(addr)) => What::Addr(addr.to_canonical()),
            (Some(below), _) => {
                What::Below(name(below).ok_or_else(|| bad("this is no name below which others can be"))?)
            }
            (None, _) => What::Name(name(host).ok_or_else(|| bad("this is no host name"))?),
        };
        Ok(Listed { what, port })
    }
}

impl Local {
    /// Whether an address that is known by these names lies in this place.
    pub fn covers(&self, addr: IpAddr, names: &[String]) -> bool {
        match self {
            Local::Name(name) => names.contains(name),
            Local::Block(first, bits) => prefix(addr.to_canonical(), *bits) == prefix(*first, *bits),
        }
    }
}

/// An address and its family with all but its first bits cleared.
fn prefix(addr: IpAddr, bits: u32) -> (bool, u128) {
    match addr {
        IpAddr::V4(v4) => (true, u128::from(v4.to_bits().checked_shr(32 - bits.min(32)).unwrap_or(0))),
        IpAddr::V6(v6) => (false, v6.to_bits().checked_shr(128 - bits.min(128)).unwrap_or(0)),
    }
}

impl FromStr for Local {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Local> {
        let bad =
            |why: &str| Failure::usage(format!("not a local place: {text}")).because(why).next("git.corp, 10.1.0.0/16");
        let (addr, bits) = match text.split_once('/') {
            Some((addr, bits)) => (addr, Some(bits)),
            None => (text, None),
        };
        match (addr.trim_matches(['[', ']']).parse::<IpAddr>(), bits) {
            (Ok(addr), bits) => {
                let addr = addr.to_canonical();
                let most = if addr.is_ipv4() { 32 } else { 128 };
                let bits = bits.map_or(Ok(most), str::parse).map_err(|_| bad("this is no number of bits"))?;
                // Fewer would be a good part of the world, and most likely a typing error.
                if bits > most || bits < 8 {
                    return Err(bad("a block has 8 to 32 bits, or to 128 for IPv6"));
                }
                Ok(Local::Block(addr, bits))
            }
            (Err(_), None) => {
                Ok(Local::Name(name(text).ok_or_else(|| bad("this is neither a host name nor an address"))?))
            }
            (Err(_), Some(_)) => Err(bad("this is no address")),
        }
    }
}

/// A host name as it is compared: lower case, no dot at its end. `None` for what is no name: odd characters, and odd
/// spellings of numbers, which resolvers take for addresses.
pub fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fine = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let number = |label: &str| {
        let hex = label.strip_prefix("0x").or(label.strip_prefix("0X"));
        label.bytes().all(|b| b.is_ascii_digit()) || hex.is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let last = text.rsplit('.').next()?;
    (text.len() <= 253 && text.split('.').all(fine) && !number(last)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
