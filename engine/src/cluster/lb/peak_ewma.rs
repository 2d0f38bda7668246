//! Peak EWMA: of two random endpoints the one with the lower expected latency, which is the moving average of its
//! response times, quick to rise and slow to fall, times the requests in flight (Finagle: "Aperture + Peak EWMA").

use super::Picking;
use super::policy::Member;
use super::sample::Sample;

pub struct PeakEwma(Sample);

impl PeakEwma {
    pub(super) fn new(members: &[Member]) -> Self {
        Self(Sample::new(members))
    }

    /// With equal weights the two are never the same. Otherwise they may be: only so each gets its share.
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

/// More than any latency, and small enough to tell one request from two.
const UNKNOWN: f64 = 1e15;

/// Who has not answered yet gets one request at a time: nobody knows how slow it is.
fn cost(index: u32, picking: &Picking<'_>) -> f64 {
    let endpoint = &picking.endpoints[index as usize];
    let active = f64::from(endpoint.active());
    match endpoint.latency(picking.now) {
        Some(latency) => latency * (active + 1.0),
        None if active == 0.0 => 0.0,
        None => UNKNOWN + active,
    }
}
