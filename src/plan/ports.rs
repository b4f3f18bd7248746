//! Ports of this machine's loopback that lead to ports in a guest.

use crate::error::{Failure, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One port here and the port in the guest that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    /// The port on 127.0.0.1 here.
    pub host: u16,
    /// The port on the guest's loopback.
    pub guest: u16,
}

impl FromStr for Forward {
    type Err = Failure;

    /// Reads `5173`, or `8080:80` for a port here that differs from the guest's.
    fn from_str(text: &str) -> Result<Forward> {
        let (host, guest) = text.split_once(':').unwrap_or((text, text));
        let port =
            |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0 && text.bytes().all(|b| b.is_ascii_digit()));
        match (port(host), port(guest)) {
            (Some(host), Some(guest)) => Ok(Forward { host, guest }),
            _ => Err(Failure::usage(format!("{text:?} is no port"))
                .because("a number from 1 to 65535 is expected, or two: the port here, a colon, the port in the guest")
                .next("vmclaude session forward 8080:80")),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "127.0.0.1:{} -> {}", self.host, self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_or_two() {
        assert_eq!("5173".parse::<Forward>().expect("one"), Forward { host: 5173, guest: 5173 });
        assert_eq!("8080:80".parse::<Forward>().expect("two"), Forward { host: 8080, guest: 80 });
        for bad in ["", "0", "x", "1:", ":1", "1:2:3", "65536", "-1", "+1", " 1", "80:0"] {
            assert!(bad.parse::<Forward>().is_err(), "{bad:?}");
        }
    }
}
