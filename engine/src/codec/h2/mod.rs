//! HTTP/2 (RFC 9113), sans-I/O: frames and header blocks in and out.
//!
//! Streams, windows and whatever else a connection remembers of its frames is in `mux::h2`.

mod decoder;
mod error;
pub mod frame;
mod head;
pub mod hpack;
#[cfg(test)]
mod tests;
pub mod write;

pub use decoder::{Decoder, Event};
pub use error::{Code, Error, Scope};
pub use head::{Block, WRONG_LENGTH};
