//! The guest's ways out: its network, the proxies, and what leads to single places of the host.

use crate::{net, proxy, setup, sys};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;
use vmclaude_init::wire::mux::Wire;
use vmclaude_init::wire::proto::{Open, PROXY_PORT, Start, Target};

/// Where the guest's HTTP proxy listens; the host puts the name of both into the environment.
const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PROXY_PORT);
/// For programs that are told to use this family only, the way to their proxy included.
const PROXY6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), PROXY_PORT);
/// Where its SOCKS proxy does, for programs that are told so.
const SOCKS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1080);

/// The proxies' doors, before anything is known of who will want them.
pub(crate) struct Listening {
    http: TcpListener,
    /// A kernel without IPv6 has none.
    http6: Option<TcpListener>,
    socks: Option<TcpListener>,
}

/// Opens them.
pub(crate) fn listen() -> io::Result<Listening> {
    let [http6, socks] = [PROXY6, SOCKS].map(|door| proxy::listen(door).ok());
    Ok(Listening { http: proxy::listen(PROXY)?, http6, socks })
}

/// The guest's ways out: its network, the proxies, and the ports that lead to local addresses of the host. What comes
/// back is why there is no more than the proxies.
pub(crate) fn open(
    wire: &Wire,
    start: &Start,
    Listening { http, http6, socks }: Listening,
    prepared: io::Result<net::Prepared>,
) -> io::Result<Option<String>> {
    // The user's wish for the port counts more.
    let socks = socks.filter(|_| start.forwards.iter().all(|(_, port)| *port != SOCKS.port()));
    if let Some(port) = start.api {
        let door = proxy::listen((Ipv4Addr::LOCALHOST, port).into())?;
        spawn(proxy::pass(door, Open::Api, wire.clone()));
    }
    if let Some(path) = &start.agent {
        tokio::spawn(proxy::pass_local(setup::agent_socket(path, start.user)?, Open::Agent, wire.clone()));
    }
    let Some(network) = &start.network else { return Ok(None) };
    for http in [Some(http), http6].into_iter().flatten() {
        tokio::spawn(proxy::serve(http, wire.clone()));
    }
    for (addr, port) in &start.forwards {
        let door = if addr.is_ipv6() { IpAddr::from(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
        let door = proxy::listen((door, *port).into()).map_err(|e| io::Error::other(format!("port {port}: {e}")))?;
        spawn(proxy::forward(door, Target::Addr(*addr, *port), wire.clone()));
    }
    if let Some(socks) = socks {
        tokio::spawn(proxy::serve_socks(socks, wire.clone()));
    }
    Ok(net::up(prepared, network, wire).err().map(|e| e.to_string()))
}

/// Serves a door in the background. It ends only when it cannot be waited for.
fn spawn(door: impl Future<Output = io::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(e) = door.await {
            sys::log(&format!("a door is closed: {e}"));
        }
    });
}
