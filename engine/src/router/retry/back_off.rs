//! How long a retry waits: exponential with full jitter, or as long as the upstream asked for.

use crate::base::clock::{Nanos, nanos};
use crate::base::random::Random;
use crate::http::{HeadView, ResponseHead};
use ringway_config::model::{RateLimitedBackOff, ResetHeader};
use std::time::Duration;

/// Envoy's defaults for requests that ask for retries where the route has no policy.
const DEFAULT: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// The exponential back-off of one request: each wait is random below a bound that doubles from the base up to the
/// maximum (Envoy: JitteredExponentialBackOffStrategy).
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    bound: Nanos,
    maximum: Nanos,
}

impl BackOff {
    /// `limits`: base and maximum.
    pub fn new(limits: Option<(Duration, Duration)>) -> Self {
        let (base, maximum) = limits.unwrap_or(DEFAULT);
        let bound = nanos(base);
        Self { bound, maximum: nanos(maximum).max(bound) }
    }

    /// The next wait, in nanoseconds.
    pub fn next(&mut self, random: &Random) -> Nanos {
        let bound = self.bound;
        self.bound = bound.saturating_mul(2).min(self.maximum);
        random.below(bound)
    }
}

/// The wait that a response asks for with the first of the policy's fields that says something usable, lengthened at
/// random by up to a half, in nanoseconds (Envoy: RateLimitedRetryBackOff, JitteredLowerBoundBackOffStrategy).
/// `wall_seconds`: now, since the epoch.
pub(super) fn rate_limited(
    policy: &RateLimitedBackOff,
    response: &ResponseHead,
    bytes: HeadView<'_>,
    wall_seconds: u64,
    random: &Random,
) -> Option<Nanos> {
    let usable = |header: &ResetHeader| {
        let field = response.fields.find(header.name.as_bytes(), bytes)?;
        let seconds = super::policy::number(field.value.of(bytes))?;
        let wait = if header.is_unix_timestamp { seconds.checked_sub(wall_seconds)? } else { seconds };
        let wait = Duration::from_secs(wait);
        (wait <= policy.max_interval && !wait.is_zero()).then(|| nanos(wait))
    };
    let wait = policy.reset_headers.iter().find_map(usable)?;
    Some(wait.saturating_add(random.below(wait / 2)))
}
