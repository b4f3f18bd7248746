//! What a guest says on the streams that the host serves itself: requests for the API, questions for names, datagrams. The
//! session has no network, so nothing is sent anywhere but to a port of the loopback where nobody listens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use tokio::io::{join, sink};
use vmclaude::net::{Denials, Policy, Upstream, serve_stream};
use vmclaude::plan::Network;
use vmclaude::plan::auth::Api;
use vmclaude::plan::network::Mode;
use vmclaude_init::wire::proto::Open;

fuzz_target!(|data: (u8, Vec<u8>)| {
    let api = Api::of(|name| match name {
        "ANTHROPIC_BASE_URL" => Some("http://127.0.0.1:1"),
        "ANTHROPIC_API_KEY" => Some("sk-ant-fuzz"),
        _ => None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let network = Network { mode: Mode::None, ..Network::default() };
        let policy = Policy::of(network, Upstream::default(), Denials::default()).with(api.expect("an API"), None);
        let (kind, said) = &data;
        let open = match kind % 4 {
            0 => Open::Dns(false),
            1 => Open::Dns(true),
            2 => Open::Udp([10, 0, 0, 1].into(), 9),
            _ => Open::Api,
        };
        serve_stream(open, join(&said[..], sink()), Arc::new(policy)).await;
    });
});
