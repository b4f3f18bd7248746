//! The bytes of the wire's words: a hello of fixed shape, then frames in a small, stable encoding (postcard).

use super::proto::VERSION;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What both sides send first, the host before the guest: eight letters, the version, and reserved zeroes.
pub const HELLO_LEN: usize = 16;

const MAGIC: &[u8; 8] = b"vmclaude";

/// Our hello.
pub fn hello() -> [u8; HELLO_LEN] {
    let mut bytes = [0; HELLO_LEN];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

/// The version in a hello.
///
/// # Errors
/// When the bytes are no hello.
pub fn version_of(hello: &[u8; HELLO_LEN]) -> io::Result<u16> {
    if &hello[..8] != MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side does not speak vmclaude's wire"));
    }
    Ok(u16::from_le_bytes([hello[8], hello[9]]))
}

/// Encodes one frame: its length (u32, little endian), then its bytes.
///
/// # Errors
/// When it cannot be encoded (a length that does not fit; never for the types above).
pub fn encode<T: Serialize>(frame: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    bytes = postcard::to_extend(frame, bytes).map_err(invalid)?;
    let len = u32::try_from(bytes.len() - 4).map_err(invalid)?;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    Ok(bytes)
}

/// Decodes the bytes of one frame, without their length.
///
/// # Errors
/// When they are not exactly one `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes).map_err(invalid)? {
        (frame, []) => Ok(frame),
        _ => Err(invalid("bytes behind the end of a frame")),
    }
}

/// Writes one frame.
///
/// # Errors
/// The stream's.
pub async fn send<T: Serialize>(to: &mut (impl AsyncWrite + Unpin), frame: &T) -> io::Result<()> {
    to.write_all(&encode(frame)?).await?;
    to.flush().await
}

/// Reads one frame; `None` when the stream ended before it.
///
/// # Errors
/// When the stream fails or ends inside a frame, and when the frame is longer than `max` or malformed.
pub async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    if from.read(&mut len[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut len[1..]).await?;
    let len = u32::from_le_bytes(len) as usize;
    if len > max {
        return Err(invalid("a frame that is too long"));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).await?;
    decode(&bytes).map(Some)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
