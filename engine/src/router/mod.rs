//! From a request to an answer: which route, where it leads, and the forwarding itself.
//!
//! Invariant: the router decides nothing about what a client is told when something fails. It returns a `Fault`, and
//! `hcm::local_reply` turns that into a response, a flag and a detail.

pub mod attempt;
mod deadlines;
mod downstream;
pub mod encode;
pub mod explain;
mod fault;
mod forward;
pub mod hash_policy;
mod hedge;
pub mod internal_redirect;
pub mod matcher;
mod mirror;
pub mod replay;
pub mod retry;
pub mod rewrite;
mod table;
mod tries;

pub use deadlines::Deadlines;
pub use downstream::{Collected, Downstream, DownstreamBody, is_too_large};
pub use encode::ResponseShape;
pub use fault::Fault;
pub use forward::{Forwarding, Response, forward, interrupted};
pub use table::{Route, RouteTable, VirtualHost};
