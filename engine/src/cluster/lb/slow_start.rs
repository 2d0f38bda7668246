//! Slow start: an endpoint that has become healthy gets its full weight gradually (Envoy: SlowStartConfig).

use crate::base::clock::{Nanos, nanos};
use crate::cluster::Endpoint;
use ringway_config::model::{LbPolicy, SlowStart};
use std::rc::Rc;
use std::time::Duration;

/// The smallest share of its weight that an endpoint gets, whatever the settings: its next turn must still come soon.
const LEAST: f64 = 0.01;

/// The factor for the endpoint's weight, from `min_weight_percent` to 1: the time since it became healthy as a share of the
/// window, to the power of one over the aggression.
pub fn factor(slow_start: &SlowStart, endpoint: &Endpoint, now: Nanos) -> f64 {
    let Some(since) = endpoint.healthy_since() else { return 1.0 };
    let (elapsed, window) = (now.saturating_sub(since), nanos(slow_start.window));
    if elapsed >= window {
        return 1.0;
    }
    let elapsed = elapsed.max(nanos(Duration::from_millis(1)));
    let time = (elapsed as f64 / window as f64).min(1.0);
    time.powf(1.0 / slow_start.aggression).max(slow_start.min_weight_percent / 100.0).max(LEAST)
}

/// Whether any endpoint currently gets less than its weight.
pub fn is_any_slow(policy: &LbPolicy, endpoints: &[Rc<Endpoint>], now: Nanos) -> bool {
    let (LbPolicy::RoundRobin { slow_start: Some(slow_start) }
    | LbPolicy::LeastRequest { slow_start: Some(slow_start), .. }) = policy
    else {
        return false;
    };
    endpoints.iter().any(|endpoint| {
        endpoint.healthy_since().is_some_and(|since| now.saturating_sub(since) < nanos(slow_start.window))
    })
}
