//! The user's ssh agent for the guest, where the configuration says so: it may ask for the public keys and have things
//! signed, and each signature is noted. Nothing else is passed on: no key is added, removed, locked or forwarded.

use base64::Engine;
use sha2::{Digest, Sha256};
use std::io;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedSender;

/// The longest message of the protocol that is passed on.
const LONGEST: u32 = 256 << 10;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
/// `SSH_AGENT_FAILURE`, whole.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// The agent of a session.
#[derive(Debug)]
pub struct Agent {
    /// Its socket here.
    pub socket: PathBuf,
    /// Where uses are noted.
    pub uses: UnboundedSender<String>,
}

impl Agent {
    /// Passes requests of one connection on, to its end.
    ///
    /// # Errors
    /// When either side breaks off or does not speak the protocol.
    pub(super) async fn serve(&self, mut guest: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut agent = UnixStream::connect(&self.socket).await?;
        while let Some(request) = message(&mut guest).await? {
            let (REQUEST_IDENTITIES | SIGN_REQUEST) = request[4] else {
                guest.write_all(&FAILURE).await?;
                guest.flush().await?;
                continue;
            };
            agent.write_all(&request).await?;
            let answer = message(&mut agent).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if request[4] == SIGN_REQUEST {
                let how = if answer[4] == 14 { "signed with" } else { "refused to sign with" };
                // Nobody listens any more when the session is over.
                let _ = self.uses.send(format!("the ssh agent {how} {}", fingerprint(&request[5..])));
            }
            guest.write_all(&answer).await?;
            guest.flush().await?;
        }
        Ok(())
    }
}

/// One message with its length; `None` when the stream ended before it.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; 4];
    if let Err(e) = from.read_exact(&mut bytes).await {
        return if e.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(e) };
    }
    let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.resize(4 + length as usize, 0);
    from.read_exact(&mut bytes[4..]).await?;
    Ok(Some(bytes))
}

/// The key that a request names, as `ssh-add -l` prints it.
fn fingerprint(request: &[u8]) -> String {
    let key =
        request.split_first_chunk::<4>().and_then(|(length, rest)| rest.get(..u32::from_be_bytes(*length) as usize));
    let digest = key.map(|key| base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(key)));
    digest.map_or_else(|| "no key".to_owned(), |digest| format!("SHA256:{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::net::UnixListener;

    #[test]
    fn only_the_two_requests_reach_the_agent_and_signatures_are_noted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let dir = tempfile::tempdir().expect("tempdir");
            let socket = dir.path().join("agent");
            let listener = UnixListener::bind(&socket).expect("bind");
            let seen = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut kinds = Vec::new();
                while let Ok(Some(request)) = message(&mut stream).await {
                    kinds.push(request[4]);
                    let answer: &[u8] = if request[4] == SIGN_REQUEST { &[0, 0, 0, 1, 14] } else { &[0, 0, 0, 1, 12] };
                    stream.write_all(answer).await.expect("answer");
                }
                kinds
            });
            let (uses, mut noted) = tokio::sync::mpsc::unbounded_channel();
            let (mut guest, far) = tokio::io::duplex(1024);
            let serve = tokio::spawn(async move { Agent { socket, uses }.serve(far).await });
            // List, remove all, add, lock, an extension, sign.
            for (kind, rest, answer) in [
                (11, &b""[..], 12),
                (19, b"", 5),
                (17, b"key", 5),
                (22, b"\0\0\0\x01x", 5),
                (27, b"\0\0\0\x01x", 5),
                (13, b"\0\0\0\x03abc\0\0\0\x04data\0\0\0\0", 14),
            ] {
                let length = u32::try_from(rest.len() + 1).expect("small").to_be_bytes();
                guest.write_all(&[&length[..], &[kind], rest].concat()).await.expect("write");
                assert_eq!(message(&mut guest).await.expect("answer").expect("one")[4], answer, "{kind}");
            }
            drop(guest);
            serve.await.expect("task").expect("orderly");
            assert_eq!(seen.await.expect("agent"), [11, 13]);
            assert_eq!(
                noted.recv().await.as_deref(),
                Some("the ssh agent signed with SHA256:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0")
            );
            assert_eq!(noted.recv().await, None);
            assert_eq!(fingerprint(b"\xff\xff\xff\xffx"), "no key");
        });
    }

    /// An agent that answers everything, and counts what it is asked by the request's number.
    async fn served(said: Vec<u8>, piece: usize) -> ([usize; 256], Vec<u8>) {
        let dir = tempfile::tempdir().expect("tempdir");
        let socket = dir.path().join("agent");
        let listener = UnixListener::bind(&socket).expect("bind");
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut kinds = [0; 256];
            while let Ok(Some(request)) = message(&mut stream).await {
                kinds[usize::from(request[4])] += 1;
                stream.write_all(&[0, 0, 0, 1, 12]).await.expect("answer");
            }
            kinds
        });
        let (uses, _noted) = tokio::sync::mpsc::unbounded_channel();
        let (guest, far) = tokio::io::duplex(piece);
        let serve = tokio::spawn(async move { Agent { socket, uses }.serve(far).await });
        let (mut from, mut to) = tokio::io::split(guest);
        let write = async move {
            // Whoever says nonsense is not listened to.
            let _ = to.write_all(&said).await;
            let _ = to.shutdown().await;
        };
        let mut answers = Vec::new();
        let (_, read) = tokio::join!(write, from.read_to_end(&mut answers));
        read.expect("an end");
        let _ = serve.await.expect("no panic");
        (seen.await.expect("agent"), answers)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever a guest says, in whatever pieces: only the two requests reach the agent, each request has one answer, and
        /// what is no message ends the conversation.
        #[test]
        fn nothing_else_reaches_the_agent(
            requests in proptest::collection::vec((prop_oneof![Just(11u8), Just(13), any::<u8>()], 0..300usize), 0..8),
            tail in proptest::collection::vec(any::<u8>(), 0..40), piece in 1..400usize
        ) {
            let mut said = Vec::new();
            for (kind, more) in &requests {
                said.extend(u32::try_from(more + 1).expect("little").to_be_bytes());
                said.push(*kind);
                said.extend(std::iter::repeat_n(0xff, *more));
            }
            // A length that no message has, and anything.
            said.extend([[0; 4], u32::MAX.to_be_bytes()][piece % 2]);
            said.extend(&tail);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            let (kinds, answers) = runtime.block_on(served(said, piece));
            for (kind, count) in (0..=u8::MAX).zip(kinds) {
                let asked = requests.iter().filter(|(other, _)| *other == kind).count();
                prop_assert_eq!(count, if matches!(kind, 11 | 13) { asked } else { 0 });
            }
            prop_assert_eq!(answers.len(), 5 * requests.len());
        }
    }
}
