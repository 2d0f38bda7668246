//! Outlier detection (Envoy: outlier_detection): endpoints that answer badly get no requests for a while.
//!
//! On the request path, [`OutlierShared`] counts the outcome of each request: in the shard's own cells, and in counters of
//! consecutive failures that all shards share and that stay untouched while requests succeed. When one of those counters
//! reaches its limit, the control thread is told at once. [`Detector`] decides everything else there, once each interval:
//! success rates, failure percentages, and the ends of ejections.

mod detector;
mod monitor;
mod rates;
mod shared;
#[cfg(test)]
mod tests;

pub use detector::Detector;
pub use monitor::{Ejection, Monitor, Outcome};
pub use rates::Origin;
pub use shared::OutlierShared;
