//! The addresses of this machine's own interfaces: no guest may reach it by them, and each connection is judged by them.
//!
//! They come and go with every VPN and Wi-Fi, and to list them takes a dozen system calls. Linux tells of every change, so
//! there they are listed again only after one.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Own {
    changes: Option<Changes>,
    known: Mutex<Option<Arc<[IpAddr]>>>,
}

impl Own {
    pub(super) fn new() -> Own {
        Own { changes: Changes::listen(), known: Mutex::default() }
    }

    /// Every address of this machine's interfaces, as of now.
    ///
    /// # Errors
    /// The system's; without the list nothing can be judged.
    pub(super) fn addresses(&self) -> io::Result<Arc<[IpAddr]>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // First whether it changed, then the list: what changes in between is heard of next time.
        let same = self.changes.as_ref().is_some_and(Changes::none);
        if let (true, Some(addresses)) = (same, &*known) {
            return Ok(Arc::clone(addresses));
        }
        *known = None;
        let addresses: Arc<[IpAddr]> = list()?.into();
        *known = Some(Arc::clone(&addresses));
        Ok(addresses)
    }
}

fn list() -> io::Result<Vec<IpAddr>> {
    let ip = |address: nix::sys::socket::SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
        (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
        _ => None,
    };
    Ok(nix::ifaddrs::getifaddrs()?.filter_map(|interface| interface.address.and_then(ip)).collect())
}

/// The kernel's news of addresses.
#[derive(Debug)]
struct Changes(#[cfg(target_os = "linux")] std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Changes {
    /// `None`: the kernel does not tell, so nothing is ever known to be the same.
    fn listen() -> Option<Changes> {
        use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket};
        use std::os::fd::AsRawFd;
        let groups = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let news = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()?;
        bind(news.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned())).ok()?;
        Some(Changes(news))
    }

    /// Whether there was no news since this was last asked.
    fn none(&self) -> bool {
        use nix::errno::Errno;
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let mut none = true;
        loop {
            match recv(self.0.as_raw_fd(), &mut [0; 4096], MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return none,
                // That some were lost (ENOBUFS) is news too.
                Ok(1..) | Err(Errno::EINTR | Errno::ENOBUFS) => none = false,
                Ok(_) | Err(_) => return false,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Changes {
    fn listen() -> Option<Changes> {
        None
    }

    fn none(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{Own, list};
    use std::net::IpAddr;

    #[test]
    fn our_own_addresses_are_seen() {
        for own in [Own::new(), Own::default()] {
            let all = own.addresses().expect("addresses");
            assert!(all.contains(&[127, 0, 0, 1].into()), "{all:?}");
            assert_eq!(*own.addresses().expect("again"), *list().expect("list"));
        }
    }

    /// In a network namespace of this thread's own, which takes root.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_comes_or_goes_is_known_at_once() {
        let ip = |words: &str| {
            let done = std::process::Command::new("ip").args(words.split(' ')).status();
            done.is_ok_and(|status| status.success())
        };
        if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() || !ip("link set lo up") {
            println!("skipped own::an_address_that_comes_or_goes_is_known_at_once: it takes root, and ip");
            return;
        }
        let own = Own::new();
        let has = |address: &str| own.addresses().expect("addresses").contains(&address.parse::<IpAddr>().expect("ip"));
        assert!(!has("203.0.113.7") && has("127.0.0.1"));
        for address in ["203.0.113.7/32", "2001:db8::7/128"] {
            let plain = address.split('/').next().unwrap_or_default();
            for _ in 0..3 {
                assert!(ip(&format!("addr add {address} dev lo")), "{address}");
                assert!(has(plain) && has(plain), "{address} came");
                assert!(ip(&format!("addr del {address} dev lo")), "{address}");
                assert!(!has(plain) && !has(plain), "{address} went");
            }
        }
    }
}
