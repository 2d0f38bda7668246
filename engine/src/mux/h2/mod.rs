//! HTTP/2 (RFC 9113): many exchanges at a time on one connection. `codec::h2` has its bytes, this folder what a connection
//! remembers of them.
//!
//! ```text
//! exchange ── head, end, reset ─────> out ─────────────┐
//!     └────── DATA ── its own queue ── sending, in turn ─┴─> driver ── bytes
//! bytes ── driver ── receive ── the stream's slot ── poll_head, poll_piece ──> exchange
//! ```
//!
//! One task for each connection moves its bytes ([`Driver`]), each exchange has a task of its own, and both meet in the
//! [`Link`]. What all of a turn's exchanges have to say goes out in one send.

mod asked;
mod body;
mod driver;
mod guard;
mod link;
mod pulse;
mod receive;
mod room;
mod served;
mod stream;
#[cfg(test)]
mod tests;
mod window;
mod write;

pub use crate::codec::h2::frame::PREFACE;
pub use crate::codec::h2::{Code, Error};
pub use asked::Asked;
pub use driver::{Driver, Over};
pub use link::{Link, Role};
pub use pulse::Pulse;
pub use room::trim;
pub use served::Served;
pub use stream::{Key, Leaving};
