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

use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use vmclaude_init::wire::proto;

/// How long what happens is collected before it is told.
const TOGETHER: Duration = Duration::from_millis(25);
/// More than this is not kept for a guest that does not keep up.
const MOST_PENDING: usize = 50_000;

/// What a person should hear: what happened, and what to type.
pub type Say = Box<dyn Fn(String, Option<String>) + Send>;

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
