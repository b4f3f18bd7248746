//! The host's own resolver, with a limit on how much of it the guest can occupy.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::sync::{OnceCell, Semaphore};

/// Names being resolved at one time: each keeps a thread until the system's resolver gives up.
const LOOKUPS: usize = 32;
/// Addresses of one name that are used.
const ADDRESSES: usize = 16;
/// How long an answer serves everybody who asks for the same: programs ask for both families at once, and connect at once.
const RECENT: Duration = Duration::from_secs(2);
/// Answers that are kept so long.
const KEPT: usize = 64;

type Answer = Arc<OnceCell<Vec<IpAddr>>>;

/// Lookups of one session.
#[derive(Debug)]
pub(super) struct Lookup {
    turns: Arc<Semaphore>,
    recent: Mutex<VecDeque<(Instant, String, Answer)>>,
}

impl Lookup {
    pub(super) fn new() -> Lookup {
        Lookup { turns: Arc::new(Semaphore::new(LOOKUPS)), recent: Mutex::default() }
    }

    /// The addresses of a name, in the order in which the host's resolver prefers them; none when it has none.
    pub(super) async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let answer = self.answer(name);
        answer.get_or_init(|| resolve(self.turns.clone(), name.to_owned())).await.clone()
    }

    /// The place of the answer for `name`, which somebody may be fetching already.
    fn answer(&self, name: &str) -> Answer {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(since, ..)| since.elapsed() < RECENT);
        if let Some((.., answer)) = recent.iter().find(|(_, known, _)| known == name) {
            return answer.clone();
        }
        let answer = Answer::default();
        recent.push_back((Instant::now(), name.to_owned(), answer.clone()));
        if recent.len() > KEPT {
            recent.pop_front();
        }
        answer
    }
}

async fn resolve(turns: Arc<Semaphore>, name: String) -> Vec<IpAddr> {
    let Ok(turn) = turns.acquire_owned().await else { return Vec::new() };
    // A lookup cannot be called off. In a task of its own it keeps its turn until it really ends, so that a guest which
    // gives up and asks again cannot pile up threads.
    let lookup = tokio::spawn(async move {
        let found = lookup_host((name, 0)).await.map(|found| found.take(ADDRESSES).map(|a| a.ip()).collect());
        drop(turn);
        found
    });
    lookup.await.ok().and_then(Result::ok).unwrap_or_default()
}
