//! What the guest was refused, for people to see.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use vmclaude_init::wire::proto::Target;

/// Refused destinations that are remembered. A guest that scans must not fill the host's memory.
pub(super) const DENIALS: usize = 256;
/// Why something is refused that no list names.
pub(super) const UNLISTED: &str = "not on the list of what may be reached";
/// Why a connection is refused that names another server than the one it was opened for.
pub(super) const MISNAMED: &str = "its TLS server name is not the listed one";

/// A destination that the guest was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What the guest asked for. A name holds only letters, digits, `-`, `_` and `.`: it is safe to print.
    pub target: Target,
    /// The address that the rule forbids, where one is to blame.
    pub addr: Option<SocketAddr>,
    /// What kind of address that is, such as "loopback", or what else is wrong.
    pub why: &'static str,
}

impl Denial {
    /// The words of the command line or of the settings that would allow it; `None`: nothing would.
    pub fn remedy(&self) -> Option<String> {
        let port = match &self.target {
            Target::Name(_, port) | Target::Addr(_, port) => *port,
        };
        match (self.addr, self.why) {
            (_, MISNAMED) => None,
            (None, _) | (_, UNLISTED) => Some(format!("--allow {}", shown(&self.target))),
            (Some(addr), _) if addr.ip().is_loopback() || self.why == super::policy::OWN => {
                Some(format!("--allow-host {}", SocketAddr::new(addr.ip(), port)))
            }
            (Some(addr), _) if super::policy::may_be_opened(addr.ip()) => {
                let place = match &self.target {
                    Target::Name(name, _) => name.clone(),
                    Target::Addr(..) => addr.ip().to_string(),
                };
                Some(format!("[network] allow_local = [\"{place}\"]"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.target))?;
        match self.addr {
            Some(addr) if self.target != Target::Addr(addr.ip(), addr.port()) => write!(f, " ({addr}: {})", self.why),
            _ => write!(f, " ({})", self.why),
        }
    }
}

/// A target as people write it.
pub fn shown(target: &Target) -> String {
    match target {
        Target::Name(name, port) => format!("{name}:{port}"),
        Target::Addr(addr, port) => SocketAddr::new(*addr, *port).to_string(),
    }
}

/// What somebody wants to know of each new denial.
type Told = Box<dyn Fn(&[Denial]) + Send + Sync>;

/// The denials of one session, each destination once, the first of them in order. Clones are the same.
#[derive(Clone, Default)]
pub struct Denials(Arc<(Mutex<Vec<Denial>>, Option<Told>)>);

impl Denials {
    /// Denials that `told` hears of: all so far, the new one last. It must not take long.
    pub fn told(told: impl Fn(&[Denial]) + Send + Sync + 'static) -> Denials {
        Denials(Arc::new((Mutex::default(), Some(Box::new(told)))))
    }

    /// What was refused so far, at most 256.
    pub fn all(&self) -> Vec<Denial> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a refusal.
    pub(super) fn note(&self, mut denial: Denial) {
        if let Target::Name(name, _) = &mut denial.target {
            name.make_ascii_lowercase();
        }
        let mut denied = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if denied.len() < DENIALS && denied.iter().all(|known| known.target != denial.target) {
            tracing::info!("refused {denial}");
            denied.push(denial);
            if let Some(told) = &self.0.1 {
                told(&denied);
            }
        }
    }
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().fmt(f)
    }
}
