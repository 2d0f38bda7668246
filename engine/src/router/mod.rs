//! From a request to an answer: which route, where it leads, and the forwarding itself.
//!
//! Invariant: the router decides nothing about what a client is told when something fails. It returns a `Fault`, and
//! `hcm::local_reply` turns that into a response, a flag and a detail.

mod deadlines;
mod downstream;
pub mod encode;
mod fault;
mod forward;
pub mod matcher;
mod relay;
mod table;

pub use deadlines::Deadlines;
pub use downstream::{Downstream, DownstreamBody, is_too_large};
pub use encode::{HeaderPolicy, ResponseShape};
pub use fault::Fault;
pub use forward::{Forwarding, Outcome, forward};
pub use table::{Action, Route, RouteTable, VirtualHost};
