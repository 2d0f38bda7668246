//! Connections to upstream endpoints: making them, keeping them, and one exchange on one of them.
//!
//! Invariant: nothing here knows routes or downstreams.

mod connection;
mod exchange;
pub mod limits;
mod pool;

pub use connection::Connection;
pub use exchange::{UpstreamBody, UpstreamError, UpstreamExchange, UpstreamHead};
pub use pool::{ConnectError, Pool, PoolGroup, PoolOptions};
