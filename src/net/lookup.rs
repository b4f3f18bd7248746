//! The host's own resolver, with a limit on how much of it the guest can occupy.

use super::resolver;
use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::pin;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use vmclaude_init::wire::crowd::Crowd;

/// Names being resolved at one time: each keeps a thread until the system's resolver gives up.
const LOOKUPS: usize = 32;
/// How long a lookup may take before it is one that hangs, which has given its turn to another one.
const PATIENCE: Duration = Duration::from_secs(1);
/// Those that hang, at one time. A lookup cannot be called off.
const HANGING: usize = 160;
/// How long a name waits for a turn, in patiences: others are through by then, or hang. Where no more may hang, one must do.
const WAIT: u32 = 3;
/// Names that had none in that time, for which the configured servers are asked by ourselves. What only the host's resolver knows
/// is not found that way, but this can be called off: for one more, the oldest is.
const ASKED: usize = 32;
/// How long that may take, in patiences.
const ASKED_FOR: u32 = 2;
/// Turns that only names have that were resolved before, when the others' are taken.
const KNOWN_LOOKUPS: usize = 8;
/// Such names.
const KNOWN: usize = 256;
/// Addresses of one name that are used.
const ADDRESSES: usize = 16;
/// How long an answer serves everybody who asks for the same, in patiences: programs ask for both families at once, and connect
/// at once. While it is looked for, whoever asks waits for the same: who asks again does not wait again from the beginning.
const RECENT: u32 = 2;
/// Answers that are kept so long.
const KEPT: usize = 64;

/// An answer, and since when it is one.
type Answer = Arc<OnceCell<(Instant, Option<Vec<IpAddr>>)>>;

/// Who knows names.
pub(super) trait Resolver: Clone + Send + Sync + 'static {
    /// The addresses of a name, in the order of preference.
    fn find(&self, name: String) -> impl Future<Output = Vec<IpAddr>> + Send;

    /// What the configured servers know of it, which can be called off; `None`: they do not say.
    fn ask(&self, name: &str) -> impl Future<Output = Option<Vec<IpAddr>>> + Send;
}

/// The system's.
#[derive(Debug, Clone, Copy)]
pub(super) struct System;

impl Resolver for System {
    async fn find(&self, name: String) -> Vec<IpAddr> {
        let found = lookup_host((name, 0)).await.map(|found| found.take(ADDRESSES).map(|a| a.ip()).collect());
        found.unwrap_or_default()
    }

    async fn ask(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut found = resolver::ask(name, &resolver::configured()).await?;
        found.truncate(ADDRESSES);
        Some(found)
    }
}

/// Lookups of one session.
#[derive(Debug)]
pub(super) struct Lookup<R = System> {
    resolver: R,
    patience: Duration,
    turns: Arc<Semaphore>,
    hanging: Arc<Semaphore>,
    asked: Crowd,
    known_turns: Arc<Semaphore>,
    known: Mutex<VecDeque<String>>,
    recent: Mutex<VecDeque<(String, Answer)>>,
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
            asked: Crowd::new(ASKED),
            known_turns: semaphore(KNOWN_LOOKUPS),
            known: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The addresses of a name, in the order in which the host's resolver prefers them; none when it has none. `None`: there are
    /// too many lookups that hang, and nobody else said anything.
    pub(super) async fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let answer = self.answer(name);
        let found = async || {
            let found = self.resolve(name.to_owned()).await;
            (Instant::now(), found)
        };
        answer.get_or_init(found).await.1.clone()
    }

    /// As if the host's resolver had just said so; for an hour.
    #[cfg(test)]
    pub(super) fn say(&self, name: &str, addrs: &[IpAddr]) {
        let answer = (Instant::now() + Duration::from_secs(3600), Some(addrs.to_vec()));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((name.to_owned(), Arc::new(OnceCell::new_with(Some(answer)))));
    }

    /// The place of the answer for `name`, which somebody may be fetching already.
    fn answer(&self, name: &str) -> Answer {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(_, answer)| answer.get().is_none_or(|(since, _)| since.elapsed() < self.patience * RECENT));
        if let Some((_, answer)) = recent.iter().find(|(known, _)| known == name) {
            return answer.clone();
        }
        let answer = Answer::default();
        recent.push_back((name.to_owned(), answer.clone()));
        if recent.len() > KEPT {
            recent.pop_front();
        }
        answer
    }

    async fn resolve(&self, name: String) -> Option<Vec<IpAddr>> {
        let wait = if self.hanging.available_permits() > 0 { WAIT } else { 1 };
        let found = match timeout(self.patience * wait, self.turn(&name)).await {
            Ok(turn) => self.find(name.clone(), turn?).await,
            Err(_) => self.ask(&name).await?,
        };
        if !found.is_empty() {
            self.learn(name);
        }
        Some(found)
    }

    async fn ask(&self, name: &str) -> Option<Vec<IpAddr>> {
        let limited = timeout(self.patience * ASKED_FOR, self.resolver.ask(name));
        self.asked.attempt(limited).await?.ok()?
    }

    async fn find(&self, name: String, turn: OwnedSemaphorePermit) -> Vec<IpAddr> {
        let (resolver, hanging, patience) = (self.resolver.clone(), Arc::clone(&self.hanging), self.patience);
        // A lookup cannot be called off. In a task of its own it keeps its turn, or a place among those that hang, until it
        // really ends, so that a guest which gives up and asks again cannot pile up threads.
        let lookup = tokio::spawn(async move {
            let search = resolver.find(name);
            pin!(search);
            if let Ok(found) = timeout(patience, &mut search).await {
                return found;
            }
            let _place = hanging.try_acquire_owned().map_or(turn, |place| place);
            search.await
        });
        lookup.await.unwrap_or_default()
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
#[path = "lookup_tests.rs"]
mod tests;
