//! Changes that the host makes to files that the guest knows, told there.
//!
//! With a share server of ours the guest repeats them ([`repeated`]; `share::events` says why and how). With Apple's it is told
//! where to look ([`looked`]).

mod ignored;
#[cfg(target_os = "linux")]
mod inotify;
mod looked;
#[cfg(target_os = "linux")]
mod pending;
#[cfg(target_os = "linux")]
mod repeated;

pub use looked::run as look;
#[cfg(target_os = "linux")]
pub use repeated::run as repeat;

use std::time::{Duration, Instant};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use vmclaude_init::wire::proto;

/// How long what happens is collected before it is told.
const TOGETHER: Duration = Duration::from_millis(25);
/// More than this is not kept for a guest that does not keep up.
const MOST_PENDING: usize = 50_000;

/// What to type where there is too much to be told.
const IGNORE: &str = "[watch] ignore = [\"DIRECTORY/\"]   # in config.toml";

/// What a person should hear: what happened, and what to type.
pub type Say = Box<dyn Fn(String, Option<String>) + Send>;

/// Whether it was quiet before what came `first`, when the guest was `told` something before.
fn after_quiet(first: Instant, told: Option<Instant>) -> bool {
    told.is_none_or(|told| first >= told + TOGETHER)
}

/// Until when is waited for more than what came `first` and `last`: after a while of quiet, `soon` without more is enough.
fn due(first: Instant, last: Instant, told: Option<Instant>, soon: Duration) -> Instant {
    let together = first + TOGETHER;
    if after_quiet(first, told) { together.min(last + soon) } else { together }
}

/// Frames in a queue, because reading one must not be interrupted half-way.
fn frames<T>(mut from: impl AsyncRead + Unpin + Send + 'static, max: usize) -> mpsc::Receiver<T>
where
    T: serde::de::DeserializeOwned + Send + 'static,
{
    let (send, receive) = mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok(Some(frame)) = proto::receive(&mut from, max).await {
            if send.send(frame).await.is_err() {
                return;
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn what_comes_first_after_a_while_is_told_soon_and_what_follows_together() {
        let first = Instant::now();
        let due = |first, last, told| due(first, last, told, SOON);
        let quiet = |told| due(first, first, told) == first + SOON;
        assert!(quiet(None) && first.checked_sub(TOGETHER).is_some_and(|told| quiet(Some(told))));
        // More is waited for, but not for ever.
        assert_eq!(due(first, first + SOON, None), first + SOON * 2);
        assert_eq!(due(first, first + TOGETHER, None), first + TOGETHER);
        assert_eq!(due(first, first, Some(first)), first + TOGETHER, "something was told just now");
    }
}
