//! The guest's proxies, which only the guest can harm; a crash would still end its session.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)] // the supervisor's, compiled from its source
#[path = "../../image/init/src/proxy/mod.rs"]
mod proxy;

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        let _ = proxy::socks::request(&mut tokio::io::join(data, tokio::io::sink())).await;
        let _ = proxy::request::read(&mut &data[..]).await;
    });
});
