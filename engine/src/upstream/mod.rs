//! Connections to upstream endpoints: making them, keeping them, and handing them out, one exchange at a time.
//!
//! Invariant: nothing here knows routes, downstreams or what is said on a wire.

mod connect;
mod connection;
mod lease;
pub mod limits;
mod pool;
#[cfg(all(test, feature = "second-wire"))]
mod pool_tests;
#[cfg(feature = "second-wire")]
mod shared;
mod waiters;

pub use connect::ConnectError;
pub use connection::Connection;
pub use lease::Lease;
pub use pool::{Pool, PoolGroup, PoolOptions};
