//! Questions for names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmclaude::net::dns::question;

fuzz_target!(|data: &[u8]| {
    match question(data) {
        Ok(asked) => assert!(asked.name.is_none_or(|name| (1..=253).contains(&name.len()))),
        Err(answer) => assert!(answer.is_none_or(|answer| answer.len() == 12)),
    }
});
