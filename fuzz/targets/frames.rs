//! The typed frames that a guest sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmclaude_init::wire::proto::{Open, ToHost, decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(frame) = decode::<ToHost>(data) {
        assert_eq!(decode::<ToHost>(&encode(&frame).expect("encodes")[4..]).expect("decodes"), frame);
    }
    if let Ok(open) = decode::<Open>(data) {
        assert_eq!(decode::<Open>(&encode(&open).expect("encodes")[4..]).expect("decodes"), open);
    }
});
