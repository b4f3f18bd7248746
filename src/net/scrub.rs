//! An answer's body in which no secret is: whoever it came from, an echo of the key is stars by the time the guest reads it.

use crate::plan::auth::SHORTEST;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body as it comes, but for the secrets. What may be the beginning of one is held until more is known; all else goes on at
/// once, so that a stream of events stays one. The length stays the same.
pub(super) struct Scrubbed<B> {
    body: B,
    secrets: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// What comes behind that which is held.
    next: Option<Frame<Bytes>>,
}

impl<B> Scrubbed<B> {
    pub(super) fn new(body: B, mut secrets: Vec<Vec<u8>>) -> Scrubbed<B> {
        secrets.retain(|secret| secret.len() >= SHORTEST);
        Scrubbed { body, secrets, held: Vec::new(), next: None }
    }

    /// What may go on now that this came.
    fn take(&mut self, frame: Frame<Bytes>) -> Vec<u8> {
        match frame.into_data() {
            Ok(data) => {
                self.held.extend_from_slice(&data);
                let open = cover(&mut self.held, &self.secrets);
                let rest = self.held.split_off(self.held.len() - open);
                std::mem::replace(&mut self.held, rest)
            }
            Err(other) => {
                self.next = Some(other);
                std::mem::take(&mut self.held)
            }
        }
    }
}

/// Covers every secret in `bytes`, and says how many of the last bytes may be the beginning of one.
fn cover(bytes: &mut [u8], secrets: &[Vec<u8>]) -> usize {
    let mut open = 0;
    for secret in secrets {
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(secret.len()).position(|part| part == secret) {
            bytes[at + found..at + found + secret.len()].fill(b'*');
            at += found + secret.len();
        }
        let longest = bytes.len().min(secret.len() - 1);
        open = open.max((1..=longest).rev().find(|n| bytes.ends_with(&secret[..*n])).unwrap_or(0));
    }
    open
}

impl<B: Body<Data = Bytes> + Unpin> Body for Scrubbed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let me = &mut *self;
        loop {
            if let Some(frame) = me.next.take() {
                return Poll::Ready(Some(Ok(frame)));
            }
            let frame = ready!(Pin::new(&mut me.body).poll_frame(cx)).transpose();
            let known = match frame {
                Err(e) => return Poll::Ready(Some(Err(e))),
                Ok(None) if me.held.is_empty() => return Poll::Ready(None),
                Ok(None) => std::mem::take(&mut me.held),
                Ok(Some(frame)) => me.take(frame),
            };
            if !known.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(known.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.next.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, held) = (self.body.size_hint(), self.held.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + held);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::collections::VecDeque;
    use std::convert::Infallible;

    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// What is left of these pieces, piece by piece.
    fn scrubbed(pieces: &[&str]) -> Vec<String> {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        let secrets = ["sk-secret", "sk-sesame", "short"].map(|secret| secret.as_bytes().to_vec());
        let mut body = Scrubbed::new(Pieces(pieces), secrets.to_vec());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let mut out = Vec::new();
            while let Some(frame) = body.frame().await {
                out.push(String::from_utf8(frame.expect("whole").into_data().expect("data").to_vec()).expect("text"));
            }
            out
        })
    }

    #[test]
    fn a_secret_is_covered_wherever_it_is_cut_and_nothing_else_waits() {
        assert_eq!(scrubbed(&["a sk-secret, sk-sesamesk-secret b"]), ["a *********, ****************** b"]);
        assert_eq!(scrubbed(&["event: x\n\n", "event: s\n\n"]), ["event: x\n\n", "event: s\n\n"]);
        assert_eq!(scrubbed(&["a sk-s", "e", "same b", " short sk-s"]), ["a ", "********* b", " short ", "sk-s"]);
        assert_eq!(scrubbed(&["sk-sk-secret"]).concat(), "sk-*********");
        assert_eq!(scrubbed(&[]), [""; 0]);
        let whole = "x sk-secret sk-secre sk-sesame!";
        for cut in 0..=whole.len() {
            let (a, b) = whole.split_at(cut);
            assert_eq!(scrubbed(&[a, b]).concat(), "x ********* sk-secre *********!", "{cut}");
        }
    }
}
