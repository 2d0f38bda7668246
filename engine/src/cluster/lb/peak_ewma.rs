//! Peak EWMA: of two random endpoints, the one with the lower expected latency. That is the moving average of its response
//! times, which rises at once and falls slowly, times its requests in flight (Finagle: "Aperture + Peak EWMA").

use super::member::Member;
use super::pick::Picking;
use super::sample::Sample;

pub struct PeakEwma(Sample);

impl PeakEwma {
    pub(super) fn new(members: &[Member]) -> Self {
        Self(Sample::new(members))
    }

    /// With equal weights the two candidates always differ. With other weights they may be the same: otherwise a heavy
    /// endpoint would get less than its share.
    pub(super) fn pick(&self, picking: &Picking<'_>) -> u32 {
        let members = self.0.members();
        let (first, second) = if self.0.is_equal() && members.len() > 1 {
            let first = picking.random.below(members.len() as u64) as usize;
            let step = 1 + picking.random.below(members.len() as u64 - 1) as usize;
            (members[first], members[(first + step) % members.len()])
        } else {
            (self.0.pick(picking.random), self.0.pick(picking.random))
        };
        if cost(second, picking) < cost(first, picking) { second } else { first }
    }
}

/// Larger than any latency, and small enough for a difference of one request to count.
const UNKNOWN: f64 = 1e15;

/// An endpoint that has not answered yet gets one request at a time: how slow it is, is not known.
fn cost(index: u32, picking: &Picking<'_>) -> f64 {
    let endpoint = &picking.endpoints[index as usize];
    let active = f64::from(endpoint.active());
    match endpoint.latency(picking.now) {
        Some(latency) => latency * (active + 1.0),
        None if active == 0.0 => 0.0,
        None => UNKNOWN + active,
    }
}
