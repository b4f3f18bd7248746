//! Attempts of which only so many may be under way: one more, and the oldest is given up. Those that hang are in nobody's way.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::select;
use tokio::sync::Notify;

/// See the module.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    inside: Mutex<VecDeque<Arc<Notify>>>,
}

/// One attempt's place.
struct Place<'a> {
    crowd: &'a Crowd,
    gone: Arc<Notify>,
}

impl Crowd {
    /// A crowd of at most so many.
    pub const fn new(most: usize) -> Crowd {
        Crowd { most, inside: Mutex::new(VecDeque::new()) }
    }

    /// What comes of the attempt; `None` when it was given up for a later one.
    pub async fn attempt<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let place = self.enter();
        select! {
            biased;
            done = attempt => Some(done),
            () = place.gone.notified() => None,
        }
    }

    /// Gives up the oldest attempt; whether there was one.
    pub fn give_up_one(&self) -> bool {
        let oldest = self.inside().pop_front();
        oldest.is_some_and(|oldest| {
            oldest.notify_one();
            true
        })
    }

    fn enter(&self) -> Place<'_> {
        let gone = Arc::new(Notify::new());
        self.inside().push_back(Arc::clone(&gone));
        if self.inside().len() > self.most {
            self.give_up_one();
        }
        Place { crowd: self, gone }
    }

    fn inside(&self) -> MutexGuard<'_, VecDeque<Arc<Notify>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.crowd.inside().retain(|other| !Arc::ptr_eq(other, &self.gone));
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;
    use std::future::{pending, ready};
    use std::sync::Arc;
    use tokio::task::yield_now;

    #[test]
    fn one_too_many_is_the_end_of_the_oldest() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let crowd = Arc::new(Crowd::new(2));
            let hang = || {
                let crowd = Arc::clone(&crowd);
                tokio::spawn(async move { crowd.attempt(pending::<()>()).await })
            };
            let (first, second) = (hang(), hang());
            yield_now().await;
            assert!(!first.is_finished());
            assert_eq!(crowd.attempt(ready(7)).await, Some(7));
            assert_eq!(first.await.expect("task"), None);
            assert_eq!(crowd.attempt(ready(8)).await, Some(8), "there is room again");
            yield_now().await;
            assert!(!second.is_finished());
            assert!(crowd.give_up_one() && !crowd.give_up_one());
            assert_eq!(second.await.expect("task"), None);
            let given_up = hang();
            yield_now().await;
            given_up.abort();
            assert!(given_up.await.is_err());
            assert!(!crowd.give_up_one(), "who is gone has no place");
        });
    }
}
