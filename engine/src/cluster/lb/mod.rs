//! Load balancing: from a request to an endpoint.
//!
//! ```text
//! subset (subset.rs) -> priority, panic (priority.rs) -> locality (level.rs) -> policy (policy.rs, one file each)
//! ```
//!
//! Everything here is made again when the members or their health change and stays fixed in between, except for the state
//! of the policies. A pick does not allocate. All of it follows Envoy, except that the random policy respects weights.

mod balancer;
mod bounded_load;
mod edf;
mod hashed;
mod least_request;
mod level;
mod maglev;
mod member;
mod peak_ewma;
mod pick;
mod policy;
mod priority;
mod random;
mod ring_hash;
mod round_robin;
mod sample;
mod slow_start;
mod subset;
#[cfg(test)]
mod tests;

pub use balancer::Balancer;
pub use hashed::{Tables, Workshop};
pub use pick::{NoHost, PickContext};
