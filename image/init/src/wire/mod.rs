//! One duplex byte stream carries everything: terminal, pipes, signals, exit status and network.
//!
//! [`proto`] has the words, [`coding`] their bytes, [`mux`] the streams with flow control that carry them, [`pipe`] the joint to a TCP connection.

pub mod coding;
pub mod crowd;
pub mod mux;
pub mod pipe;
pub mod proto;
