//! Refused connections, told once in a while.

use crate::base::clock::Nanos;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Between two lines about the same limit.
const QUIET: Nanos = 10_000_000_000;

/// Those that one limit has refused, on all shards.
#[derive(Debug, Default)]
pub struct Refusals {
    /// When there was a line, plus one; 0: never.
    told: AtomicU64,
    /// Since then.
    untold: AtomicU64,
}

impl Refusals {
    /// Counts one more. Where a line is due: the number of those since the last line, this one included.
    pub fn note(&self, now: Nanos) -> Option<u64> {
        let untold = self.untold.fetch_add(1, Relaxed) + 1;
        let before = self.told.load(Relaxed);
        if before != 0 && now < before + QUIET {
            return None;
        }
        // Two shards in the same moment may both write a line.
        self.told.store(now + 1, Relaxed);
        self.untold.fetch_sub(untold, Relaxed);
        Some(untold)
    }
}
