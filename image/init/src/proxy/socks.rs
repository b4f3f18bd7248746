//! SOCKS, version 5: connections without a password, names left to the host. Nothing else of it.

use super::dial;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::pipe::{pipe, reset};
use vmclaude_init::wire::proto::{Dialled, Target};

/// Answers of RFC 1928.
const FAILED: u8 = 1;
const FORBIDDEN: u8 = 2;
const UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const NO_COMMAND: u8 = 7;
const NO_ADDRESS: u8 = 8;

/// One connection to the proxy.
pub(super) async fn serve(mut tcp: TcpStream, wire: Wire) {
    let (place, target) = match super::asked(request(&mut tcp)).await {
        Some((Some(Ok(target)), place)) => (place, target),
        Some((Some(Err(Some(code))), _)) => return refuse(tcp, code).await,
        _ => return reset(tcp),
    };
    let why = match dial(&wire, target).await {
        Ok(Ok(stream)) => {
            return match tcp.write_all(&reply(0)).await {
                Ok(()) => pipe(tcp, stream).await,
                Err(_) => reset(tcp),
            };
        }
        Ok(Err(Dialled::Forbidden | Dialled::NotListed)) => FORBIDDEN,
        Ok(Err(Dialled::Refused)) => REFUSED,
        Ok(Err(_)) => UNREACHABLE,
        Err(_) => FAILED,
    };
    drop(place);
    refuse(tcp, why).await;
}

/// What the client asks for; `Err` holds the answer to a request that is none of ours, `None` when there is nothing to say.
pub(crate) async fn request(client: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Target, Option<u8>> {
    let mut bytes = [0; 2];
    read(client, &mut bytes).await?;
    if bytes[0] != 5 {
        return Err(None);
    }
    let mut methods = [0; 255];
    let methods = &mut methods[..usize::from(bytes[1])];
    read(client, methods).await?;
    if !methods.contains(&0) {
        let _ = client.write_all(&[5, 0xff]).await;
        return Err(None);
    }
    client.write_all(&[5, 0]).await.map_err(|_| None)?;
    let mut head = [0; 4];
    read(client, &mut head).await?;
    let target = address(client, head[3]).await?;
    match (head[0], head[1]) {
        (5, 1) => target.ok_or(Some(NO_ADDRESS)),
        (5, _) => Err(Some(NO_COMMAND)),
        _ => Err(None),
    }
}

/// Where to, by the kind of address; `None`: one that cannot be dialled.
async fn address(client: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<Option<Target>, Option<u8>> {
    let mut bytes = [0; 255];
    let name = match kind {
        1 => &mut bytes[..4],
        4 => &mut bytes[..16],
        3 => {
            let mut length = [0];
            read(client, &mut length).await?;
            &mut bytes[..usize::from(length[0])]
        }
        _ => return Err(Some(NO_ADDRESS)),
    };
    read(client, name).await?;
    let name = &*name;
    let mut port = [0; 2];
    read(client, &mut port).await?;
    let port = u16::from_be_bytes(port);
    let ip = match kind {
        1 => <[u8; 4]>::try_from(name).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        4 => <[u8; 16]>::try_from(name).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    };
    let target = match ip {
        Some(ip) => Some(Target::Addr(ip, port)),
        // The same rule as for the other proxy: what is no name is not asked for.
        None => super::request::host(name).map(|host| match host.parse::<IpAddr>() {
            Ok(ip) => Target::Addr(ip, port),
            Err(_) => Target::Name(host, port),
        }),
    };
    Ok(target.filter(|_| port != 0))
}

async fn read(client: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<(), Option<u8>> {
    client.read_exact(bytes).await.map(drop).map_err(|_| None)
}

/// An answer; the address that it has room for is of no use to anybody.
fn reply(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

async fn refuse(tcp: TcpStream, code: u8) {
    super::farewell(tcp, &reply(code)).await;
}

#[cfg(test)]
mod tests {
    use super::{NO_ADDRESS, NO_COMMAND, request};
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use vmclaude_init::wire::proto::Target;

    /// What is made of these bytes, sent one by one.
    fn ask(bytes: &[u8]) -> Result<Target, Option<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let (mut client, mut server) = tokio::io::duplex(4096);
            client.write_all(bytes).await.expect("room");
            client.shutdown().await.expect("shutdown");
            let asked = request(&mut server).await;
            drop(server);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.expect("read");
            assert!(answer.is_empty() || answer == [5, 0] || answer == [5, 0xff]);
            asked
        })
    }

    fn name(name: &[u8], port: u16) -> Vec<u8> {
        [&[5, 1, 0, 5, 1, 0, 3, name.len() as u8][..], name, &port.to_be_bytes()].concat()
    }

    #[test]
    fn names_and_addresses_are_understood() {
        assert_eq!(ask(&name(b"A.example", 22)), Ok(Target::Name("a.example".into(), 22)));
        assert_eq!(ask(&name(b"9.9.9.9", 22)), Ok(Target::Addr([9, 9, 9, 9].into(), 22)));
        assert_eq!(ask(&[5, 2, 2, 0, 5, 1, 0, 1, 9, 9, 9, 9, 1, 187]), Ok(Target::Addr([9, 9, 9, 9].into(), 443)));
        let v6 = [&[5, 1, 0, 5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat();
        assert_eq!(ask(&v6), Ok(Target::Addr(std::net::Ipv6Addr::LOCALHOST.into(), 80)));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [&b"evil\0.a.example"[..], b"", b"a b", b"u@h", b"[::1]", b"a/b", b"a:80", &[b'a'; 254]] {
            assert_eq!(ask(&name(bad, 80)), Err(Some(NO_ADDRESS)), "{bad:?}");
        }
        assert_eq!(ask(&name(b"a.example", 0)), Err(Some(NO_ADDRESS)));
        for command in [0, 2, 3, 9] {
            assert_eq!(ask(&[5, 1, 0, 5, command, 0, 1, 9, 9, 9, 9, 0, 80]), Err(Some(NO_COMMAND)), "{command}");
        }
        assert_eq!(ask(&[5, 1, 0, 5, 1, 0, 2, 9]), Err(Some(NO_ADDRESS)));
        for nothing in
            [&b""[..], b"\x04\x01", b"GET / HTTP/1.1\r\n\r\n", &[5, 1, 2], &[5, 0], &[5, 9, 0], &[5, 1, 0, 5, 1]]
        {
            assert_eq!(ask(nothing), Err(None), "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300), good: bool) {
            let bytes = if good { [&[5, 1, 0, 5, 1, 0][..], &bytes].concat() } else { bytes };
            let _ = ask(&bytes);
        }
    }
}
