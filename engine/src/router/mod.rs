//! Forwarding: the tries of one request, their retries, hedges and mirrors, until there is a response.
//!
//! Invariant: the router decides nothing about what a client is told when something fails. It returns a `Fault`, and
//! `hcm::local_reply` turns that into a response, a flag and a detail.

mod client;
mod deadlines;
mod fault;
mod forward;
mod hedge;
mod mirror;
pub mod replay;
pub mod retry;
mod trace;
mod tries;
mod r#try;
mod upload;
mod vigil;

pub use client::Client;
pub use deadlines::Deadlines;
pub use fault::Fault;
pub use forward::{Forwarding, forward};
pub use r#try::Try;
pub use upload::{Collected, Upload};
pub use vigil::{LOOK, Vigil};
