//! Slow start: an endpoint that became healthy gets its weight little by little (Envoy: SlowStartConfig).

use crate::base::clock::{Nanos, nanos};
use crate::cluster::Endpoint;
use ringway_config::model::{LbPolicy, SlowStart};
use std::rc::Rc;
use std::time::Duration;

/// Nobody gets less than this share of its weight, whatever the settings: the next turn must come before long.
const LEAST: f64 = 0.01;

/// What the endpoint's weight is multiplied with: from `min_weight_percent` to 1, with the time since it became healthy
/// as a share of the window, to the power of one over the aggression.
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

/// Whether any of these gets less than its weight now.
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
