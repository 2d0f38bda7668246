//! Retries: what holds for the tries of one request, whether one more is made, and how long it waits.
//!
//! Invariant: everything here is pure. forward.rs makes the tries, keeps the deadlines and counts.

mod back_off;
mod policy;
mod state;

pub use back_off::BackOff;
pub use policy::{FailedTry, TryPolicy, TryTimeouts, consume};
pub use state::{NoRetry, PreviousPriorities, Tries};

#[cfg(test)]
mod tests;
