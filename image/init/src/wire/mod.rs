//! One duplex byte stream carries everything: terminal, pipes, signals, exit status and network.
//!
//! [`proto`] has the words, [`mux`] the streams with flow control that carry them.

pub mod mux;
pub mod proto;
