//! A minimal HTTP/2 of the load test's own (RFC 9113, RFC 7541), client and server side.
//!
//! Like [`crate::http`] it shares nothing with the engine's codecs, and it does only what a load generator and its
//! origin need: what the other side may send is read in full, what is sent is prepared once.
pub mod frame;
pub mod hpack;
pub mod huffman;
pub mod receive;
pub mod send;
mod statics;

pub use frame::{Frame, FrameReader};
