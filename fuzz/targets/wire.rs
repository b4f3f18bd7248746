//! The multiplexer on the host's side, fed with what a guest may send: it accepts or refuses, and keeps within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, join, sink};
use vmclaude_init::wire::mux::{Side, Wire};

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(async {
        let wire = Wire::new(Side::Host);
        let users = wire.clone();
        let using = async {
            while let Ok((_, mut stream)) = users.accept().await {
                let mut bytes = [0; 100];
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(&bytes).await;
            }
        };
        let _ = tokio::join!(wire.drive(join(data, sink())), using);
    });
});
