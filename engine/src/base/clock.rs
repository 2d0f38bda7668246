//! Time. A shard reads the clock once per turn of its loop and everything on the shard uses that reading; tests put a
//! virtual clock in its place and move it by hand.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds on a monotonic clock with an arbitrary start, the same for all threads of the process.
pub type Nanos = u64;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Where a shard's time comes from.
#[derive(Debug)]
pub enum Clock {
    /// The machine's clocks: monotonic for deadlines, wall clock for logs.
    Real { origin: Instant, wall_origin: Cell<u64> },
    /// Stands still until `Clock::advance` moves it.
    Virtual { now: Cell<Nanos> },
}

/// Virtual time starts here on the wall clock: 2026-01-01T00:00:00Z, in microseconds since the epoch.
const VIRTUAL_WALL_ORIGIN: u64 = 1_767_225_600_000_000;

impl Clock {
    pub fn real() -> Self {
        let clock = Self::Real { origin: *ORIGIN.get_or_init(Instant::now), wall_origin: Cell::new(0) };
        clock.resync();
        clock
    }

    pub fn virtual_time() -> Self {
        Self::Virtual { now: Cell::new(0) }
    }

    pub fn now(&self) -> Nanos {
        match self {
            Self::Real { origin, .. } => origin.elapsed().as_nanos() as u64,
            Self::Virtual { now } => now.get(),
        }
    }

    /// Wall clock time in microseconds since the epoch that belongs to the monotonic reading `now`. A step of the wall
    /// clock is followed when the caller passes fresh readings to `Clock::resync`.
    pub fn wall_micros(&self, now: Nanos) -> u64 {
        match self {
            Self::Real { wall_origin, .. } => wall_origin.get() + now / 1000,
            Self::Virtual { .. } => VIRTUAL_WALL_ORIGIN + now / 1000,
        }
    }

    /// Read the wall clock again, so that a step of it (NTP, an operator) shows in logs.
    pub fn resync(&self) {
        if let Self::Real { origin, wall_origin } = self {
            wall_origin.set(unix_micros().saturating_sub(origin.elapsed().as_micros() as u64));
        }
    }

    /// Move virtual time on. Does nothing to a real clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Virtual { now } = self {
            now.set(now.get() + by.as_nanos() as u64);
        }
    }
}

/// `Duration` as the clock's unit; centuries saturate.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn unix_micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// A deadline that does not come.
pub const NEVER: Nanos = Nanos::MAX;

/// The end of `limit`, which begins at `now`; without one, `NEVER`.
pub fn deadline(now: Nanos, limit: Option<Duration>) -> Nanos {
    limit.map_or(NEVER, |limit| now.saturating_add(nanos(limit)))
}
