//! The host's own resolver, with a limit on how much of it the guest can occupy.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::pin;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Names being resolved at one time: each keeps a thread until the system's resolver gives up.
const LOOKUPS: usize = 32;
/// How long a lookup may take before it is one that hangs, which has given its turn to another one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Those that hang, at one time. A lookup cannot be called off.
const HANGING: usize = 160;
/// Turns that only names have that were resolved before, when the others' are taken.
const KNOWN_LOOKUPS: usize = 8;
/// Such names.
const KNOWN: usize = 256;
/// Addresses of one name that are used.
const ADDRESSES: usize = 16;
/// How long an answer serves everybody who asks for the same: programs ask for both families at once, and connect at once.
const RECENT: Duration = Duration::from_secs(2);
/// Answers that are kept so long.
const KEPT: usize = 64;

type Answer = Arc<OnceCell<Vec<IpAddr>>>;

/// Who knows names.
pub(super) trait Resolver: Clone + Send + Sync + 'static {
    /// The addresses of a name, in the order of preference.
    fn find(&self, name: String) -> impl Future<Output = Vec<IpAddr>> + Send;
}

/// The system's.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Resolver for System {
    async fn find(&self, name: String) -> Vec<IpAddr> {
        let found = lookup_host((name, 0)).await.map(|found| found.take(ADDRESSES).map(|a| a.ip()).collect());
        found.unwrap_or_default()
    }
}

/// Lookups of one session.
#[derive(Debug)]
pub(super) struct Lookup<R = System> {
    resolver: R,
    patience: Duration,
    turns: Arc<Semaphore>,
    hanging: Arc<Semaphore>,
    known_turns: Arc<Semaphore>,
    known: Mutex<VecDeque<String>>,
    recent: Mutex<VecDeque<(Instant, String, Answer)>>,
}

impl Lookup {
    pub(super) fn new() -> Lookup {
        Lookup::by(System, PATIENCE)
    }
}

impl<R: Resolver> Lookup<R> {
    fn by(resolver: R, patience: Duration) -> Lookup<R> {
        let semaphore = |n| Arc::new(Semaphore::new(n));
        Lookup {
            resolver,
            patience,
            turns: semaphore(LOOKUPS),
            hanging: semaphore(HANGING),
            known_turns: semaphore(KNOWN_LOOKUPS),
            known: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The addresses of a name, in the order in which the host's resolver prefers them; none when it has none.
    pub(super) async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let answer = self.answer(name);
        answer.get_or_init(|| self.resolve(name.to_owned())).await.clone()
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

    async fn resolve(&self, name: String) -> Vec<IpAddr> {
        let Some(turn) = self.turn(&name).await else { return Vec::new() };
        let (resolver, hanging, asked) = (self.resolver.clone(), Arc::clone(&self.hanging), name.clone());
        let patience = self.patience;
        // A lookup cannot be called off. In a task of its own it keeps its turn, or a place among those that hang, until it
        // really ends, so that a guest which gives up and asks again cannot pile up threads.
        let lookup = tokio::spawn(async move {
            let search = resolver.find(asked);
            pin!(search);
            if let Ok(found) = timeout(patience, &mut search).await {
                return found;
            }
            let _place = hanging.try_acquire_owned().map_or(turn, |place| place);
            search.await
        });
        let found = lookup.await.unwrap_or_default();
        if !found.is_empty() {
            self.learn(name);
        }
        found
    }

    /// A turn to look a name up.
    async fn turn(&self, name: &str) -> Option<OwnedSemaphorePermit> {
        let turns = Arc::clone(&self.turns);
        if !self.knows(name) {
            return turns.acquire_owned().await.ok();
        }
        // None of the two is ever closed.
        tokio::select! {
            biased;
            turn = turns.acquire_owned() => turn.ok(),
            turn = Arc::clone(&self.known_turns).acquire_owned() => turn.ok(),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == name)
    }

    /// Remembers a name that has addresses, for the longest those that were asked for last.
    fn learn(&self, name: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|other| *other != name);
        known.push_back(name);
        if known.len() > KNOWN {
            known.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HANGING, LOOKUPS, Lookup, Resolver};
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::timeout;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    /// Knows every name but those that begin with a dash, and is not yet through with those; counts what it is asked at a time.
    #[derive(Clone, Default)]
    struct Slow(Arc<AtomicUsize>);

    impl Resolver for Slow {
        async fn find(&self, name: String) -> Vec<IpAddr> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if name.starts_with('-') {
                std::future::pending::<()>().await;
            }
            vec![HERE]
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime").block_on(test);
    }

    fn lookup() -> (Slow, Arc<Lookup<Slow>>) {
        let slow = Slow::default();
        (slow.clone(), Arc::new(Lookup::by(slow, Duration::from_millis(20))))
    }

    /// Asks for so many names that hang, until the resolver was asked so often.
    async fn hang((slow, lookup): &(Slow, Arc<Lookup<Slow>>), names: usize, asked: usize) {
        for n in 0..names {
            let lookup = Arc::clone(lookup);
            tokio::spawn(async move { lookup.addresses(&format!("-{n}")).await });
        }
        let all = async {
            while slow.0.load(Ordering::SeqCst) < asked {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(30), all).await.expect("they get their turns");
    }

    #[test]
    fn lookups_that_hang_give_their_turns_to_others() {
        run(async {
            let both = lookup();
            hang(&both, 2 * LOOKUPS, 2 * LOOKUPS).await;
            assert_eq!(timeout(Duration::from_secs(5), both.1.addresses("fine")).await, Ok(vec![HERE]));
        });
    }

    #[test]
    fn they_are_bounded_and_a_name_that_is_known_has_a_turn_all_the_same() {
        run(async {
            let both = lookup();
            assert_eq!(both.1.addresses("known").await, [HERE]);
            hang(&both, 2 * (HANGING + LOOKUPS), 1 + HANGING + LOOKUPS).await;
            let control = timeout(Duration::from_millis(300), both.1.addresses("new")).await;
            assert!(control.is_err(), "all turns are taken");
            assert_eq!(both.0.0.load(Ordering::SeqCst), 1 + HANGING + LOOKUPS, "threads at one time");
            // Not by what is kept for a moment.
            both.1.recent.lock().expect("lock").clear();
            assert_eq!(timeout(Duration::from_secs(5), both.1.addresses("known")).await, Ok(vec![HERE]));
        });
    }
}
