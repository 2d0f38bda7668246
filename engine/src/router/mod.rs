//! Forwarding: the tries of one request, their retries, hedges and mirrors, until there is a response.
//!
//! Invariant: the router decides nothing about what a client is told when something fails. It returns a `Fault`, and
//! `hcm::local_reply` turns that into a response, a flag and a detail.

pub mod attempt;
mod deadlines;
mod downstream;
pub mod encode;
mod fault;
mod forward;
mod hedge;
mod mirror;
pub mod replay;
pub mod retry;
mod tries;

pub use deadlines::Deadlines;
pub use downstream::{Collected, Downstream, DownstreamBody, is_too_large};
pub use encode::ResponseShape;
pub use fault::Fault;
pub use forward::{Forwarding, Response, forward, interrupted};
