//! The wire between host and guest. The supervisor's crate exposes nothing else, so that the host shares one protocol
//! with it and no code.

pub mod wire;
