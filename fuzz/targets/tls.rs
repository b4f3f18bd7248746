//! The first bytes of connections whose server name counts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmclaude::net::tls::{Hello, hello};

fuzz_target!(|data: &[u8]| {
    let whole = hello(data);
    if let Hello::Name(name) = &whole {
        // What was read must not change by what follows it.
        assert_eq!(hello(&[data, b"more"].concat()), Hello::Name(name.clone()));
        assert!(!name.contains('\0') && name.len() <= 253);
    }
    assert!(whole != Hello::More || data.len() < 64 << 10);
});
