//! Which of the host's addresses that a VM may reach are on the guest's own loopback too.

use super::network::Network;
use crate::error::{Failure, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use vmclaude_init::wire::proto::PROXY_PORT;

impl Network {
    /// The addresses of this machine that are on the guest's own loopback too: for a port, one of each family. It is the
    /// loopback's where that is allowed, else the first. `api`: whether the host adds the key.
    pub fn doors(&self, api: bool) -> Vec<SocketAddr> {
        let mut doors: Vec<SocketAddr> = Vec::new();
        let canonical = self.allow_hosts.iter().map(|a| SocketAddr::new(a.ip().to_canonical(), a.port()));
        for addr in canonical.filter(|a| !is_taken(a, api)) {
            let same = doors.iter_mut().find(|d| (d.port(), d.is_ipv4()) == (addr.port(), addr.is_ipv4()));
            match same {
                Some(door) if [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&addr.ip()) => {
                    *door = addr;
                }
                Some(_) => {}
                None => doors.push(addr),
            }
        }
        doors
    }

    /// Refuses what only the guest's loopback could lead to, at a port that is not free there.
    ///
    /// # Errors
    /// With the address (exit 64).
    pub fn check_doors(&self, api: bool) -> Result<()> {
        let wrong = self.allow_hosts.iter().find(|a| a.ip().to_canonical().is_loopback() && is_taken(a, api));
        wrong.map_or(Ok(()), |addr| {
            Err(Failure::usage(format!("a VM cannot reach {addr}"))
                .because("in a VM, that address is vmclaude's own proxy")
                .next("have the server listen at another port, or at another address of this machine"))
        })
    }
}

/// Whether the supervisor itself listens there: its proxy does, and where the host adds the key, what takes requests for that, at the
/// loopback of IPv4 only. (Its SOCKS proxy gives way.)
fn is_taken(addr: &SocketAddr, api: bool) -> bool {
    let port = addr.port();
    port == PROXY_PORT || api && port == super::auth::PORT && addr.ip().to_canonical().is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(allowed: &[&str]) -> Network {
        Network {
            allow_hosts: allowed.iter().map(|text| text.parse().expect("an address")).collect(),
            ..Network::default()
        }
    }

    #[test]
    fn a_port_of_the_guests_loopback_leads_to_one_address() {
        let doors = |allowed: &[&str]| network(allowed).doors(true).iter().map(ToString::to_string).collect::<Vec<_>>();
        let apart = ["10.0.0.1:80", "10.0.0.1:81", "[fd00::1]:80"];
        assert_eq!(doors(&apart), apart);
        assert_eq!(doors(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:80"]), ["10.0.0.1:80"]);
        assert_eq!(doors(&["10.0.0.1:80", "127.0.0.1:80", "127.0.0.2:80"]), ["127.0.0.1:80"]);
        assert_eq!(doors(&["[fd00::1]:80", "[::1]:80", "[::ffff:127.0.0.1]:80"]), ["[::1]:80", "127.0.0.1:80"]);
        assert_eq!(doors(&["10.0.0.1:3128", "[fd00::1]:3128", "10.0.0.1:3129", "[::1]:3129"]), ["[::1]:3129"]);
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        for bad in ["127.0.0.1:3128", "127.0.0.1:3129", "[::ffff:127.0.0.1]:3128", "[::1]:3128"] {
            assert!(network(&["10.0.0.1:80", bad]).check_doors(true).is_err(), "{bad}");
        }
        assert!(
            network(&["127.0.0.1:3127", "10.0.0.1:3128", "[::1]:3129", "127.0.0.1:1080"]).check_doors(true).is_ok()
        );
        assert!(network(&["127.0.0.1:3129"]).check_doors(false).is_ok(), "without the host's key that is free");
    }
}
