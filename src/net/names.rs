//! Which names the guest was told for which address: a connection that was caught in the guest shows an address only, and
//! the list of what may be reached speaks of names.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses that are remembered; the oldest is forgotten first.
const ADDRESSES: usize = 4096;
/// Names of one address that are remembered.
const NAMES: usize = 16;

/// The table. Everything in it is what this host's own resolver said.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    known: HashMap<IpAddr, VecDeque<String>>,
    order: VecDeque<IpAddr>,
}

impl Names {
    /// Notes that `name` stands for these addresses; it then is their latest name.
    pub(super) fn learn(&self, name: &str, addrs: &[IpAddr]) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        for addr in addrs.iter().map(IpAddr::to_canonical) {
            let names = table.known.entry(addr).or_insert_with(|| {
                table.order.push_back(addr);
                VecDeque::new()
            });
            names.retain(|known| known != name);
            names.push_front(name.to_owned());
            names.truncate(NAMES);
        }
        while table.order.len() > ADDRESSES {
            if let Some(oldest) = table.order.pop_front() {
                table.known.remove(&oldest);
            }
        }
    }

    /// The names of an address, the latest first.
    pub(super) fn of(&self, addr: IpAddr) -> Vec<String> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.known.get(&addr.to_canonical()).map_or_else(Vec::new, |names| names.iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, NAMES, Names};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn the_table_knows_the_latest_names_and_does_not_grow() {
        let names = Names::default();
        let ip = |n: u32| IpAddr::V4(Ipv4Addr::from(n));
        names.learn("a.example", &[ip(1), ip(2)]);
        names.learn("b.example", &[ip(2)]);
        names.learn("a.example", &[ip(2)]);
        assert_eq!(names.of(ip(2)), ["a.example", "b.example"]);
        assert_eq!(names.of("::ffff:0.0.0.1".parse().expect("address")), ["a.example"]);
        for n in 0..10_000 {
            names.learn(&format!("n{n}"), &[ip(3), ip(n + 10)]);
        }
        let table = names.0.lock().expect("lock");
        assert_eq!((table.known.len(), table.order.len()), (ADDRESSES, ADDRESSES));
        assert!(table.known.values().all(|names| names.len() <= NAMES));
    }
}
