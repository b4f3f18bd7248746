//! Streams with flow control over one byte stream.
