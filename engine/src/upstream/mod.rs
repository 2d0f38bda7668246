//! Connections to upstream endpoints: making them, keeping them, and handing them out, one exchange at a time.
//!
//! Invariant: nothing here knows routes, downstreams or what is said on a wire.

#[cfg(test)]
mod claim_tests;
mod connect;
mod connection;
mod group;
mod lease;
pub mod limits;
mod named;
mod pool;
#[cfg(test)]
mod pool_tests;
mod shared;
#[cfg(test)]
mod shared_tests;
mod waiters;

pub use connect::{ConnectError, is_local_shortage};
pub use connection::Connection;
pub use group::{Loan, PoolGroup};
pub use lease::Lease;
pub use named::Split;
pub use pool::{Pool, PoolOptions};

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// Requests of clients.
    #[default]
    Main,
    /// Copies of requests and what else no client waits for. It gives way to main traffic where anything is short.
    Side,
}
