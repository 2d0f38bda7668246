//! Load balancing: one policy per file, one arm per policy here.

mod round_robin;

pub use round_robin::RoundRobin;

/// A policy with its state on one shard.
pub enum LoadBalancer {
    RoundRobin(RoundRobin),
}

impl LoadBalancer {
    /// An index into the cluster's endpoints.
    pub fn pick(&self) -> usize {
        match self {
            Self::RoundRobin(policy) => policy.pick(),
        }
    }
}
