//! The cost of comparing a request with what the configuration asks for, in steps.

use std::cell::Cell;

/// Steps that the comparisons of one head have taken (`ringway_config::model::MATCH_STEPS_MAX`).
#[derive(Clone, Debug, Default)]
pub struct Work(Cell<u64>);

impl Work {
    /// Takes these steps, if they are within `most` together with those before. Where they are not, no further ones are: what
    /// was to be compared counts as different, and the request must be refused.
    #[inline]
    pub fn take(&self, steps: u64, most: u64) -> bool {
        let taken = self.0.get().saturating_add(steps);
        self.0.set(taken);
        taken <= most
    }

    #[inline]
    pub fn taken(&self) -> u64 {
        self.0.get()
    }

    /// The steps count from the start again.
    pub fn reset(&self) {
        self.0.set(0);
    }
}
