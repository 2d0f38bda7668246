//! What a peer may make a connection do for nothing (RFC 9113 section 10.5).

use crate::base::clock::Nanos;
use crate::codec::h2::{Code, Error};

/// Frames without progress in each span of time, and as many more for each exchange or DATA frame in it.
const IDLE_FRAMES: u32 = 1000;
const FRAMES_PER_STEP: u32 = 10;
const SPAN: Nanos = 10_000_000_000;

/// Of at least this many streams, half may be abused (Envoy: `premature_reset_total_stream_count`).
const STREAMS: u32 = 500;

/// A reset by a client within this time, before any answer, is one too many.
pub(super) const EARLY: Nanos = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Guard {
    since: Nanos,
    idle: u32,
    steps: u32,
    opened: u32,
    abused: u32,
}

impl Guard {
    /// A frame has come that moves no exchange on.
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn idle_frame(&mut self, now: Nanos) -> Result<(), Error> {
        if now.saturating_sub(self.since) > SPAN {
            (self.since, self.idle, self.steps) = (now, 0, 0);
        }
        self.idle += 1;
        if self.idle > IDLE_FRAMES.saturating_add(self.steps.saturating_mul(FRAMES_PER_STEP)) {
            return Err(Error::connection(Code::ENHANCE_YOUR_CALM, "too many frames that move nothing"));
        }
        Ok(())
    }

    /// An exchange has begun, or DATA went out for one.
    #[inline]
    pub(super) fn step(&mut self) {
        self.steps = self.steps.saturating_add(1);
    }

    pub(super) fn opened(&mut self) {
        self.opened = self.opened.saturating_add(1);
        self.step();
    }

    /// A stream was opened to be given up at once, or to break a rule.
    ///
    /// # Errors
    /// Most of the streams were.
    pub(super) fn abused(&mut self) -> Result<(), Error> {
        self.abused += 1;
        if self.opened.max(self.abused) >= STREAMS && self.abused > self.opened / 2 {
            return Err(Error::connection(Code::ENHANCE_YOUR_CALM, "most streams were given up or broke a rule"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_without_progress_are_bounded_in_time_and_by_progress() {
        let mut guard = Guard::default();
        let flood = |guard: &mut Guard, now| (1..).find(|_| guard.idle_frame(now).is_err()).unwrap();
        assert_eq!(flood(&mut guard, 1), IDLE_FRAMES + 1);
        // Later it may begin again.
        assert_eq!(flood(&mut guard, SPAN + 2), IDLE_FRAMES + 1);
        (0..50).for_each(|_| guard.step());
        assert_eq!(flood(&mut guard, SPAN + 3), 50 * FRAMES_PER_STEP);
    }

    #[test]
    fn half_of_many_streams_may_be_given_up() {
        let mut guard = Guard::default();
        for _ in 0..10_000 {
            guard.opened();
            guard.opened();
            assert_eq!(guard.abused(), Ok(()));
        }
        // A few streams tell nothing.
        let mut guard = Guard::default();
        for at in 1..2 * STREAMS {
            guard.opened();
            assert_eq!(guard.abused().is_err(), at >= STREAMS, "{at}");
        }
    }
}
