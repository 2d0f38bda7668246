//! A minimal HTTP/1.1 of the load test's own (RFC 9112), client and server side.
//!
//! It shares nothing with the engine's codecs: an error in one of them cannot hide by being made twice.
pub mod body;
pub mod head;
pub mod reader;

pub use head::{Framing, RequestHead, ResponseHead};
pub use reader::{Event, Reader, RequestReader, ResponseReader};

/// Bytes that are not HTTP/1 as RFC 9112 defines it, with the rule that they break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed message: {}", self.0)
    }
}

impl std::error::Error for Malformed {}
